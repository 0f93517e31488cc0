#!/usr/bin/env python3
"""Makes tests/fixtures/golden: small models run by the PyTorch twin, in the layout of the reference's golden
data, so that the tests always have something to compare with. Needs torch and safetensors; run from the
project's root:  python3 reference/make_model_fixtures.py [NAME ...]"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

from act_torch import PREFIX, steps_of, training_run
from models_torch import make
from trm_torch import IGNORE, Config

OUT = pathlib.Path("tests/fixtures/golden")
SMALL = dict(arch="trm", vocab_size=6, seq_len=9, num_puzzle_identifiers=4, puzzle_emb_ndim=20,
             puzzle_emb_len=2, hidden_size=16, num_heads=2, H_cycles=2, L_cycles=2, L_layers=1,
             halt_max_steps=3, halt_exploration_prob=0.0, no_ACT_continue=True, rope_theta=1e4,
             rms_norm_eps=1e-5, H_layers=0, expansion=4.0, forward_dtype="float32", mlp_t=False,
             pos_encodings="rope")
CONFIGS = {"twin_mlp_t": dict(SMALL, mlp_t=True, pos_encodings="none"),
           "twin_attention": SMALL,
           "twin_learned": dict(SMALL, pos_encodings="learned", puzzle_emb_ndim=32),
           "twin_continue": dict(SMALL, no_ACT_continue=False),
           "twin_singlez": dict(SMALL, arch="trm_singlez"),
           "twin_hier6": dict(SMALL, arch="trm_hier6", L_cycles=3),
           "twin_hrm": dict(SMALL, arch="hrm", H_layers=1, puzzle_emb_len=0, no_ACT_continue=False),
           "twin_baseline": dict(SMALL, arch="transformers_baseline", hidden_size=20, H_layers=2, num_heads=3,
                                 puzzle_emb_len=0, H_cycles=1, no_ACT_continue=False)}
HYPER = {"lr": 1e-3, "puzzle_emb_lr": 1e-2, "weight_decay": 0.1, "puzzle_emb_weight_decay": 0.1,
         "beta1": 0.9, "beta2": 0.95, "lr_warmup_steps": 5, "total_steps": 20, "lr_min_ratio": 1.0,
         "ema_rate": 0.9}
BATCH = 5


def random_batch(c, generator, rows=BATCH):
    def draw(low, high, shape):
        return torch.randint(low, high, shape, generator=generator, dtype=torch.int32)
    labels = draw(1, c.vocab_size, (rows, c.seq_len))
    labels[draw(0, 4, labels.shape) == 0] = IGNORE
    labels[0, :] = IGNORE  # a padding row
    return {"inputs": draw(0, c.vocab_size, (rows, c.seq_len)), "labels": labels,
            "puzzle_identifiers": draw(0, c.num_puzzle_identifiers, (rows,))}


def make_model(c, generator):
    """With heads and puzzle embedding that are not zero, so that they count."""
    torch.manual_seed(generator.initial_seed())
    model = make(c)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name in ("q_head.weight", "q_head.bias", "puzzle_emb.weights"):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return model


def save(path, tensors, description):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, f"{path}.safetensors")
    path.with_suffix(".json").write_text(json.dumps(description, indent=1) + "\n")


def save_state(path, model):
    """The start states as the models use them: in the forward dtype."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {PREFIX + k: v.detach().to(model.c.dtype if k.endswith("_init") else v.dtype, copy=True)
             for k, v in model.state_dict().items()}
    torch.save(state, path)


def describe(c, values, seed, **more):
    return {"arch": c.arch, "loss_type": c.loss_type, "config": values, "seed": seed, **more}


def model_fixture(path, values, seed, rows=BATCH):
    """PATH.pt, .safetensors and .json of ACT steps; how near their decisions are to ties."""
    generator = torch.Generator().manual_seed(seed)
    c = Config.of(values)
    model = make_model(c, generator)
    save_state(path.with_suffix(".pt"), model)
    batches = [random_batch(c, generator, rows) for _ in range(6)]
    arrays, found = steps_of(c, model, batches[:5], batches[5])
    save(path, arrays, describe(c, values, seed, **found))
    return found["min_halt_margin"], found["min_top2_logit_gap"]


def train_fixture(path, values, seed, rows=BATCH):
    """PATH.init.pt, .safetensors and .json of 20 training steps; how near halting is to a tie."""
    generator = torch.Generator().manual_seed(seed)
    c = Config.of(values)
    model = make_model(c, generator)
    save_state(path.with_suffix(".init.pt"), model)
    batches = [random_batch(c, generator, rows) for _ in range(20)]
    arrays, steps, margin = training_run(c, model, batches, HYPER)
    save(path, arrays, describe(c, dict(values, batch_size=rows), seed, hyper=HYPER, steps=steps))
    return margin


if __name__ == "__main__":
    torch.set_num_threads(1)
    wanted = sys.argv[1:]
    for index, (name, values) in enumerate(CONFIGS.items()):
        if not wanted or name in wanted:
            print(name, *model_fixture(OUT / "model" / name, values, 7 + index))
    for name, of in {"twin_train": "twin_mlp_t", "twin_train_hrm": "twin_hrm"}.items():
        if not wanted or name in wanted:
            print(name, train_fixture(OUT / "train" / name, CONFIGS[of], 21))

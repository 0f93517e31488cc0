#!/usr/bin/env python3
"""How far apart the PyTorch twin, the reference and our program are, as the tables of docs/parity.md.

  parity.py twin GOLDEN      the twin against the reference's recorded values; exit code 1 above 1e-4
  parity.py recorded GOLDEN  our program against the reference's recorded values
  parity.py table            our program against the twin: each model, each dtype

Needs torch and safetensors, and build/tests/trm_parity (--trm-parity PROGRAM); run from the project's root.
A difference is the largest one of an array divided by the largest number in it. `table` gives beside each how
far PyTorch in that dtype is from PyTorch in float64: what rounding alone does.
"""

import argparse
import copy
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file

from act_torch import PREFIX, steps_of, training_run
from make_model_fixtures import HYPER, describe, random_batch, save, save_state
from models_torch import make
from trm_torch import Config

# Few cycles: a recursion with weights that are not trained amplifies rounding without bound.
REAL = dict(vocab_size=11, seq_len=25, num_puzzle_identifiers=8, hidden_size=64, num_heads=4,
            puzzle_emb_ndim=64, puzzle_emb_len=2, H_cycles=2, L_cycles=2, H_layers=0, L_layers=2,
            halt_max_steps=4, halt_exploration_prob=0.0, no_ACT_continue=True, mlp_t=False,
            pos_encodings="rope", expansion=4.0, rope_theta=1e4, rms_norm_eps=1e-5)
HRM = dict(REAL, puzzle_emb_len=0, no_ACT_continue=False)
MODELS = {"trm, MLP": dict(REAL, arch="trm", mlp_t=True, pos_encodings="none"),
          "trm, attention": dict(REAL, arch="trm"),
          "trm_singlez": dict(REAL, arch="trm_singlez"),
          "trm_hier6": dict(REAL, arch="trm_hier6"),
          "hrm": dict(HRM, arch="hrm", H_layers=2),
          "transformers_baseline": dict(HRM, arch="transformers_baseline", H_cycles=1, H_layers=4,
                                        num_heads=6)}
ROWS = 4
# A gradient that is zero but for rounding takes a whole step of sign-SGD: small ones here.
RUN = HYPER | {"puzzle_emb_lr": 1e-5}


def off(a, b):
    a, b = a.detach().double(), b.detach().double()
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-12)).item()


def mean_off(pairs):
    pairs = [(a.detach().double(), b.detach().double()) for a, b in pairs]
    return (sum((a - b).abs().sum() for a, b in pairs) / sum(b.abs().sum() for _, b in pairs)).item()


def ours(program, name, folder):
    out = pathlib.Path(folder) / "ours.safetensors"
    subprocess.run([program, str(name), str(out)], check=True)
    return load_file(out)


# ---- against what the reference recorded ----

def recorded_kinds(golden, key="model"):
    return sorted(f.with_suffix("") for f in (golden / key).glob("*.json")
                  if not f.name.startswith("_"))


def differences(mine, theirs, losses):
    """Of ACT steps: logits of training steps 1 and the last evaluated, q, loss, gradients."""
    grads = [k for k in theirs if ".grad." in k and k in mine]
    q = [k for k in theirs if "q_halt_logits" in k and k in mine]
    return {"logits, step 1": off(mine["train.1.logits"], theirs["train.1.logits"]),
            "logits, last step": off(mine["eval.final.logits"], theirs["eval.final.logits"]),
            "q_halt": max(off(mine[k], theirs[k]) for k in q),
            "loss, step 1": abs(losses[0] / losses[1] - 1),
            "gradients": max(off(mine[k], theirs[k]) for k in grads),
            "mean": mean_off([(mine[k], theirs[k]) for k in grads])}


def twin_on_recorded(name):
    about = json.loads(name.with_suffix(".json").read_text())
    theirs = load_file(f"{name}.safetensors")
    config = about.get("effective_config", about["config"])
    own = {"arch": about["arch"], "loss_type": about["loss_type"]}
    config = {"mlp_t": False} | config
    if about["arch"] in ("trm", "trm_singlez", "trm_hier6"):
        config = {"puzzle_emb_len": 16} | config
    else:
        config = config | {"puzzle_emb_len": 0, "no_ACT_continue": False}
    c = Config.of(config | own)
    model = make(c)
    run = "hyper" in about
    state = torch.load(name.with_suffix(".init.pt" if run else ".pt"))
    model.load_state_dict({k.removeprefix(PREFIX): v for k, v in state.items() if "local_" not in k})

    def batch(prefix):
        return {k: theirs[f"{prefix}.{k}"] for k in ("inputs", "labels", "puzzle_identifiers")}
    if run:
        mine, steps, _ = training_run(c, model, [batch(f"batch.{i}") for i in range(1, 21)], about["hyper"])
        keys = [k for k in theirs if k.startswith(("weights_after.", "ema_final."))]
        return {"loss": max(abs(a["loss"] / b["loss"] - 1) for a, b in zip(steps, about["steps"])),
                "weights": max(off(mine[k], theirs[k]) for k in keys if k in mine)}
    batches = [batch(f"train.{i}.batch") for i in range(1, 6)]
    mine, found = steps_of(c, model, batches, batch("eval.batch"))
    mine["eval.final.logits"] = mine[f"eval.{c.halt_max_steps}.logits"]
    losses = found["train_steps"][0]["loss"], about["train_steps"][0]["loss"]
    return differences(mine, theirs, losses)


def ours_on_recorded(program, name, folder):
    about = json.loads(name.with_suffix(".json").read_text())
    theirs, mine = load_file(f"{name}.safetensors"), ours(program, name, folder)
    if "hyper" in about:
        keys = [k for k in theirs if k in mine and k.startswith(("weights_after.", "ema_final."))]
        losses = [mine[f"loss.{i}"].item() / s["loss"] - 1 for i, s in enumerate(about["steps"], 1)]
        return {"loss": max(map(abs, losses)), "weights": max(off(mine[k], theirs[k]) for k in keys)}
    return differences(mine, theirs, (mine["train.1.loss"].item(), about["train_steps"][0]["loss"]))


def print_rows(rows):
    keys = list(next(iter(rows.values())))
    print("| |", " | ".join(keys), "|\n|", " | ".join(["---"] * (len(keys) + 1)), "|")
    for name, row in rows.items():
        print(f"| {name} |", " | ".join(f"{row[k]:.1e}" for k in keys), "|")
    print()


def against_recorded(golden, measure):
    worst = {}
    for kind in ("model", "train"):
        rows = {name.name: measure(name) for name in recorded_kinds(golden, kind)}
        print_rows(rows)
        worst[kind] = rows
    first_step = [r[k] for r in worst["model"].values() for k in ("logits, step 1", "loss, step 1", "gradients")]
    return max(first_step + [v for r in worst["train"].values() for v in r.values()])


# ---- our program against the twin ----

def decided(model):
    """Halting far from a tie, so that rounding does not decide which rows go on."""
    with torch.no_grad():
        model.q_head.weight.mul_(0.01)
        model.q_head.bias.copy_(torch.tensor([-5.0, 5.0]))


def in_float64(model, c):
    exact = copy.deepcopy(model)
    exact.c = Config.of(vars(c) | {"forward_dtype": "float64"})
    with torch.no_grad():
        for start in exact.latents.values():  # as they are in the dtype that is compared
            getattr(exact, start).copy_(getattr(exact, start).to(c.dtype))
    return exact.c, exact.double()


def measure_model(program, values, dtype, folder):
    name = pathlib.Path(folder) / "steps"
    values = dict(values, forward_dtype=dtype)
    c = Config.of(values)
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    model = make(c)
    with torch.no_grad():
        model.puzzle_emb.weights.copy_(torch.randn(model.puzzle_emb.weights.shape, generator=generator))
        model.q_head.weight.copy_(torch.randn(model.q_head.weight.shape, generator=generator) / 10)
    batches = [random_batch(c, generator, ROWS) for _ in range(21)]

    save_state(name.with_suffix(".pt"), model)
    torch_steps, found = steps_of(c, model, batches[:5], batches[5], with_gradients=1)
    save(name, torch_steps, describe(c, values, 1, **found))
    exact_steps, exact_found = steps_of(*in_float64(model, c), batches[:5], batches[5], with_gradients=1)
    our_steps = ours(program, name, folder)

    run = pathlib.Path(folder) / "run"
    decided(model)
    save_state(run.with_suffix(".init.pt"), model)
    start = {PREFIX + k: v.clone() for k, v in model.state_dict().items()}
    exact_c, exact = in_float64(model, c)
    torch_run, steps, margin = training_run(c, model, batches[:20], RUN)
    save(run, torch_run, describe(c, dict(values, batch_size=ROWS), 1, hyper=RUN, steps=steps))
    exact_run, _, exact_margin = training_run(exact_c, exact, batches[:20], RUN)
    assert min(margin, exact_margin) > 1, "a halting decision near a tie"
    our_run = ours(program, run, folder)

    def compared(a, b, a_run, b_run, loss):
        """Of steps `a` against `b`, and of runs."""
        grads = [k for k in torch_steps if k.startswith("train.1.grad.")]
        weights = [k for k in torch_run if k.startswith("weights_after.20.") and "puzzle_emb" not in k]
        moved = [(b_run[k], start[k.removeprefix("weights_after.20.")]) for k in weights]
        way = sum((x.double() - y.double()).abs().sum() for x, y in moved)
        left = sum((a_run[k].double() - b_run[k].double()).abs().sum() for k in weights)
        return {**{f"logits {i}": off(a[f"eval.{i}.logits"], b[f"eval.{i}.logits"]) for i in (1, 2, 4)},
                "q_halt": max(off(a[f"eval.{i}.q_halt_logits"], b[f"eval.{i}.q_halt_logits"]) for i in range(1, 5)),
                "loss": loss,
                "gradients, most": max(off(a[k], b[k]) for k in grads),
                "gradients, mean": mean_off([(a[k], b[k]) for k in grads]),
                "weights, most": max((a_run[k].double() - b_run[k].double()).abs().max().item() for k in weights),
                "weights, share of way": (left / way).item()}
    torch_loss = found["train_steps"][0]["loss"]
    return (compared(our_steps, torch_steps, our_run, torch_run, abs(our_steps["train.1.loss"].item() / torch_loss - 1)),
            compared(torch_steps, exact_steps, torch_run, exact_run,
                     abs(torch_loss / exact_found["train_steps"][0]["loss"] - 1)))


def table(program):
    first = True
    with tempfile.TemporaryDirectory(prefix="trm-parity-") as folder:
        for dtype in ("float32", "bfloat16", "float16"):
            for model, values in MODELS.items():
                mine, rounding = measure_model(program, values, dtype, folder)
                if first:
                    print("| |", " | ".join(mine), "|\n|", " | ".join(["---"] * (len(mine) + 1)), "|")
                first = False
                print(f"| {model}, {dtype} |", " | ".join(
                    f"{mine[k]:.1e} ({rounding[k]:.1e})" for k in mine), "|", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["twin", "recorded", "table"])
    parser.add_argument("golden", nargs="?", type=pathlib.Path)
    parser.add_argument("--trm-parity", default="build/tests/trm_parity")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "table":
        table(args.trm_parity)
    elif args.golden is None:
        parser.error("a folder of golden data is missing")
    elif args.what == "twin":
        sys.exit(against_recorded(args.golden, twin_on_recorded) > 1e-4)
    else:
        with tempfile.TemporaryDirectory(prefix="trm-parity-") as folder:
            against_recorded(args.golden.resolve(), lambda name: ours_on_recorded(args.trm_parity, name, folder))


if __name__ == "__main__":
    main()

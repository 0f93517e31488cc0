#!/usr/bin/env python3
"""Makes tests/fixtures/golden: small models run by the PyTorch twin (trm_torch.py), in the layout of
the reference's golden data, so that the tests always have something to compare with. Needs torch and
safetensors; run from the project's root:  python3 reference/make_model_fixtures.py"""

import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from trm_torch import IGNORE, TRM, AdamATan2, Config, stablemax_loss, total_loss

OUT = pathlib.Path("tests/fixtures/golden")
PREFIX = "model.inner."
SMALL = dict(vocab_size=6, seq_len=9, num_puzzle_identifiers=4, puzzle_emb_ndim=20, puzzle_emb_len=2,
             hidden_size=16, num_heads=2, H_cycles=2, L_cycles=2, L_layers=1, halt_max_steps=3,
             halt_exploration_prob=0.0, no_ACT_continue=True, rope_theta=1e4, rms_norm_eps=1e-5,
             H_layers=0, expansion=4.0, forward_dtype="float32")
CONFIGS = {"twin_mlp_t": dict(SMALL, mlp_t=True, pos_encodings="none"),
           "twin_attention": dict(SMALL, mlp_t=False, pos_encodings="rope"),
           "twin_learned": dict(SMALL, mlp_t=False, pos_encodings="learned", puzzle_emb_ndim=32)}
BATCH = 5


def random_batch(c, generator):
    def draw(low, high, shape):
        return torch.randint(low, high, shape, generator=generator, dtype=torch.int32)
    labels = draw(1, c.vocab_size, (BATCH, c.seq_len))
    labels[draw(0, 4, labels.shape) == 0] = IGNORE
    labels[0, :] = IGNORE  # a padding row
    return {"inputs": draw(0, c.vocab_size, (BATCH, c.seq_len)), "labels": labels,
            "puzzle_identifiers": draw(0, c.num_puzzle_identifiers, (BATCH,))}


def make_model(c, generator):
    model = TRM(c)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name in ("q_head.weight", "q_head.bias", "puzzle_emb.weights"):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return model


class Act:
    """Carry, halting and metrics around the model."""

    def __init__(self, c, model):
        self.c, self.model = c, model
        self.halted = torch.ones(BATCH, dtype=torch.bool)
        self.steps = torch.zeros(BATCH, dtype=torch.int32)
        shape = (BATCH, c.tokens, c.hidden_size)
        self.z_H = self.z_L = torch.zeros(shape)
        self.current = None

    def step(self, fresh, training):
        def pick(new, old):
            return torch.where(self.halted.view(-1, *[1] * (new.dim() - 1)), new, old)
        start = self.current or fresh
        self.current = {k: pick(fresh[k], start[k]) for k in fresh}
        self.z_H = pick(self.model.H_init.expand_as(self.z_H), self.z_H)
        self.z_L = pick(self.model.L_init.expand_as(self.z_L), self.z_L)
        self.steps = torch.where(self.halted, 0, self.steps) + 1
        ids = self.current["puzzle_identifiers"].long()
        self.rows = self.model.puzzle_emb.weights[ids].detach().requires_grad_(training)
        self.z_H, self.z_L, self.logits, self.q_halt, self.q_continue = self.model(
            self.z_H, self.z_L, self.current["inputs"].long(), self.rows)
        self.halted = self.steps >= self.c.halt_max_steps
        if training:
            self.halted = self.halted | (self.q_halt.detach() > 0)
        self.loss = total_loss(self.logits, self.q_halt, self.current["labels"])

    def metrics(self):
        labels = self.current["labels"]
        asked = labels != IGNORE
        count = asked.sum(-1)
        right = ((self.logits.argmax(-1) == labels) & asked).sum(-1)
        exact, valid = right == count, self.halted & (count > 0)
        divisor = count.clamp(min=1)
        says = self.q_halt >= 0
        return {"count": valid.sum().item(),
                "accuracy": torch.where(valid, right / divisor, 0).sum().item(),
                "exact_accuracy": (valid & exact).sum().item(),
                "q_halt_accuracy": (valid & (says == exact)).sum().item(),
                "steps": torch.where(valid, self.steps, 0).sum().item(),
                "lm_loss": (stablemax_loss(self.logits, labels).sum(-1) / divisor).sum().item(),
                "q_halt_loss": F.binary_cross_entropy_with_logits(
                    self.q_halt, exact.float(), reduction="sum").item()}

    def record(self, out, prefix):
        values = {"logits": self.logits, "preds": self.logits.argmax(-1).int(),
                  "q_halt_logits": self.q_halt, "q_continue_logits": self.q_continue,
                  "halted": self.halted.to(torch.uint8), "steps": self.steps,
                  "carry.z_H": self.z_H, "carry.z_L": self.z_L}
        out.update({f"{prefix}.{k}": v.detach().clone() for k, v in values.items()})
        top = self.logits.detach().topk(2, -1).values
        return (top[..., 0] - top[..., 1]).min().item()


def save(name, tensors, description):
    path = OUT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, f"{path}.safetensors")
    path.with_suffix(".json").write_text(json.dumps(description, indent=1) + "\n")


def save_state(name, model):
    state = {PREFIX + k: v.detach().clone() for k, v in model.state_dict().items()}
    torch.save(state, OUT / name)


def model_fixture(name, values, seed):
    generator = torch.Generator().manual_seed(seed)
    c = Config.of(values)
    model = make_model(c, generator)
    out, gaps = {}, {"train": 1e9, "eval": 1e9}
    description = {"arch": "trm", "loss_type": "stablemax_cross_entropy", "config": values,
                   "seed": seed, "params": [PREFIX + n for n, _ in model.named_parameters()],
                   "train_steps": [], "eval_steps": []}
    act = Act(c, model)
    for i in range(1, 6):
        batch = random_batch(c, generator)
        out.update({f"train.{i}.batch.{k}": v for k, v in batch.items()})
        act.step(batch, training=True)
        gaps["train"] = min(gaps["train"], act.record(out, f"train.{i}"))
        description["train_steps"].append({"loss": act.loss.item(), "metrics": act.metrics()})
        if i <= 2:
            names, params = zip(*model.named_parameters())
            grads = torch.autograd.grad(act.loss / BATCH, [*params, act.rows], allow_unused=True)
            out.update({f"train.{i}.grad.{PREFIX}{n}": g for n, g in zip(names, grads)})
            out[f"train.{i}.grad.{PREFIX}puzzle_emb.local_weights"] = grads[-1]
    batch = random_batch(c, generator)
    out.update({f"eval.batch.{k}": v for k, v in batch.items()})
    act = Act(c, model)
    with torch.no_grad():
        for i in range(1, c.halt_max_steps + 1):
            act.step(batch, training=False)
            gaps["eval"] = min(gaps["eval"], act.record(out, f"eval.{i}"))
            description["eval_steps"].append({"loss": act.loss.item(), "metrics": act.metrics()})
    description["min_top2_logit_gap"] = gaps
    save(f"model/{name}", out, description)
    save_state(f"model/{name}.pt", model)
    print(name, gaps)


def train_fixture(name, values, seed):
    generator = torch.Generator().manual_seed(seed)
    c = Config.of(values)
    model = make_model(c, generator)
    (OUT / "train").mkdir(parents=True, exist_ok=True)
    save_state(f"train/{name}.init.pt", model)
    hyper = {"lr": 1e-3, "puzzle_emb_lr": 1e-2, "weight_decay": 0.1, "puzzle_emb_weight_decay": 0.1,
             "beta1": 0.9, "beta2": 0.95, "lr_warmup_steps": 5, "total_steps": 20,
             "lr_min_ratio": 1.0, "ema_rate": 0.9}
    optimizer = AdamATan2(model.parameters(), decay=hyper["weight_decay"], ema=hyper["ema_rate"])
    act, out, steps, margin = Act(c, model), {}, [], 1e9
    for i in range(1, 21):
        batch = random_batch(c, generator)
        out.update({f"batch.{i}.{k}": v for k, v in batch.items()})
        act.step(batch, training=True)
        margin = min(margin, act.q_halt.abs().min().item())
        steps.append({"loss": act.loss.item(), "metrics": act.metrics()})
        (act.loss / BATCH).backward()
        warm = min(1.0, i / hyper["lr_warmup_steps"])
        ids = act.current["puzzle_identifiers"].long()
        table = model.puzzle_emb.weights
        lr = warm * hyper["puzzle_emb_lr"]
        for row in ids.unique():
            total = act.rows.grad[ids == row].sum(0)
            table[row] = table[row] * (1 - lr * hyper["puzzle_emb_weight_decay"]) - lr * total.sign()
        optimizer.lr = warm * hyper["lr"]
        optimizer.step()
        if i in (1, 5, 20):
            out.update({f"weights_after.{i}.{PREFIX}{k}": v.detach().clone()
                        for k, v in model.state_dict().items() if not k.endswith("_init")})
    names = [n for n, _ in model.named_parameters()]
    out.update({f"ema_final.{PREFIX}{n}": v for n, v in zip(names, optimizer.ema)})
    description = {"arch": "trm", "loss_type": "stablemax_cross_entropy", "seed": seed,
                   "config": dict(values, batch_size=BATCH), "hyper": hyper, "steps": steps}
    save(f"train/{name}", out, description)
    print(name, "least |q_halt|", margin)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for index, (name, values) in enumerate(CONFIGS.items()):
        model_fixture(name, values, 7 + index)
    train_fixture("twin_train", CONFIGS["twin_mlp_t"], 21)

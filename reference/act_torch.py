"""Training and evaluation around the PyTorch twin's models, recorded in the layout of the reference's golden
data: carry, halting, losses and metrics of each ACT step, gradients, whole training runs."""

import math

import torch
import torch.nn.functional as F

from trm_torch import IGNORE, AdamATan2, stablemax_loss

PREFIX = "model.inner."


def token_loss(c, logits, labels):
    if c.loss_type == "stablemax_cross_entropy":
        return stablemax_loss(logits, labels)
    flat = F.cross_entropy(logits.double().reshape(-1, c.vocab_size), labels.long().reshape(-1),
                           ignore_index=IGNORE, reduction="none")
    return flat.view(labels.shape)


class Act:
    """Carry, halting, loss and metrics around a model."""

    def __init__(self, c, model, rows):
        self.c, self.model = c, model
        self.halted = torch.ones(rows, dtype=torch.bool)
        self.steps = torch.zeros(rows, dtype=torch.int32)
        self.z = [start.expand(rows, c.tokens, c.hidden_size) for start in model.starts()]
        self.current = None
        self.uses_q_continue = c.arch == "hrm" or (
            c.arch != "transformers_baseline" and not c.no_ACT_continue)

    def step(self, fresh, training):
        def pick(new, old):
            return torch.where(self.halted.view(-1, *[1] * (old.dim() - 1)), new, old)
        model, old = self.model, self.current or fresh
        self.current = {k: pick(fresh[k], old[k]) for k in fresh}
        z = [pick(start, old) for start, old in zip(model.starts(), self.z)]
        self.steps = torch.where(self.halted, 0, self.steps) + 1
        self.rows = None
        if self.c.puzzle_emb_ndim:
            ids = self.current["puzzle_identifiers"].long()
            self.rows = model.puzzle_emb.weights[ids].detach().requires_grad_(training)
        x = model.embed(self.current["inputs"].long(), self.rows)
        z = model.advance(z, x)
        self.logits, self.q_halt, self.q_continue = model.read(z[0])
        self.z = [a.detach() for a in z]
        self.target = None
        if training and self.uses_q_continue:
            with torch.no_grad():
                _, halt, go_on = model.read(model.advance(self.z, x.detach())[0])
                last = self.steps >= self.c.halt_max_steps
                self.target = torch.where(last, halt, torch.maximum(halt, go_on)).sigmoid()
        self.halt(training)
        self.judge()

    def halt(self, training):
        c = self.c
        baseline = c.arch == "transformers_baseline"
        by_q = c.act_enabled and (training or c.act_inference) if baseline else training
        self.halted = self.steps >= c.halt_max_steps
        self.margin = torch.inf  # how far the nearest decision is from its opposite
        if by_q and c.halt_max_steps > 1:
            against = self.q_continue if baseline or self.uses_q_continue else 0
            wish = (self.q_halt - against).detach()
            self.margin = wish.abs().min().item()
            self.halted = self.halted | (wish > 0)

    def judge(self):
        labels = self.current["labels"]
        asked = labels != IGNORE
        count = asked.sum(-1)
        divisor = count.clamp(min=1)
        right = ((self.logits.argmax(-1) == labels) & asked).sum(-1)
        exact, valid = right == count, self.halted & (count > 0)

        def bce(logits, target):
            return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="sum")
        lm_loss = (token_loss(self.c, self.logits, labels).sum(-1) / divisor).sum()
        q_halt_loss = bce(self.q_halt, exact)
        q_continue_loss = 0 if self.target is None else bce(self.q_continue, self.target)
        self.loss = lm_loss + 0.5 * (q_halt_loss + q_continue_loss)
        self.metrics = {
            "count": valid.sum().item(),
            "accuracy": torch.where(valid, right / divisor, 0).sum().item(),
            "exact_accuracy": (valid & exact).sum().item(),
            "q_halt_accuracy": (valid & ((self.q_halt >= 0) == exact)).sum().item(),
            "steps": torch.where(valid, self.steps, 0).sum().item(),
            "lm_loss": lm_loss.item(), "q_halt_loss": q_halt_loss.item(),
            "q_continue_loss": 0.0 if self.target is None else q_continue_loss.item()}

    def gradients(self):
        """Of loss / rows, by name."""
        names, params = zip(*self.model.named_parameters())
        wanted = [*params] if self.rows is None else [*params, self.rows]
        found = torch.autograd.grad(self.loss / len(self.steps), wanted, allow_unused=True)
        out = {PREFIX + n: torch.zeros_like(p) if g is None else g
               for n, p, g in zip(names, params, found)}
        if self.rows is not None:
            out[PREFIX + "puzzle_emb.local_weights"] = found[-1]
        return out

    def record(self, out, prefix):
        values = {"logits": self.logits, "preds": self.logits.argmax(-1).int(),
                  "q_halt_logits": self.q_halt, "q_continue_logits": self.q_continue,
                  "halted": self.halted.to(torch.uint8), "steps": self.steps}
        values |= {f"carry.{name}": z for name, z in zip(self.model.latents, self.z)}
        out.update({f"{prefix}.{k}": v.detach().clone() for k, v in values.items()})
        top = self.logits.detach().double().topk(2, -1).values
        return (top[..., 0] - top[..., 1]).min().item()


def steps_of(c, model, batches, test_batch, with_gradients=2):
    """ACT steps of training on `batches` and of evaluation on `test_batch`: (arrays, description)."""
    out, gaps = {}, {"train": torch.inf, "eval": torch.inf}
    description = {"params": [PREFIX + n for n, _ in model.named_parameters()],
                   "train_steps": [], "eval_steps": [], "min_top2_logit_gap": gaps}
    act = Act(c, model, len(test_batch["inputs"]))
    margin = torch.inf
    for i, batch in enumerate(batches, 1):
        out.update({f"train.{i}.batch.{k}": v for k, v in batch.items()})
        act.step(batch, training=True)
        margin = min(margin, act.margin)
        gaps["train"] = min(gaps["train"], act.record(out, f"train.{i}"))
        description["train_steps"].append({"loss": act.loss.item(), "metrics": act.metrics})
        if i <= with_gradients:
            out.update({f"train.{i}.grad.{n}": g for n, g in act.gradients().items()})
    out.update({f"eval.batch.{k}": v for k, v in test_batch.items()})
    act = Act(c, model, len(test_batch["inputs"]))
    with torch.no_grad():
        for i in range(1, c.halt_max_steps + 1):
            act.step(test_batch, training=False)
            gaps["eval"] = min(gaps["eval"], act.record(out, f"eval.{i}"))
            description["eval_steps"].append({"loss": act.loss.item(), "metrics": act.metrics})
    description["min_halt_margin"] = margin
    return out, description


def schedule(step, hyper):
    """The share of the learning rate at a step, counted from 1: a linear rise, then a cosine."""
    rise, least = hyper["lr_warmup_steps"], hyper["lr_min_ratio"]
    if step < rise:
        return step / rise
    progress = (step - rise) / max(1, hyper["total_steps"] - rise)
    return least + max(0, (1 - least) * 0.5 * (1 + math.cos(math.pi * progress)))


def training_run(c, model, batches, hyper):
    """A training step a batch: weights after 1, 5 and all, moving averages: (arrays, steps, margin)."""
    optimizer = AdamATan2(model.parameters(), decay=hyper["weight_decay"], ema=hyper["ema_rate"],
                          betas=(hyper["beta1"], hyper["beta2"]))
    act, out, steps, margin = Act(c, model, len(batches[0]["inputs"])), {}, [], torch.inf
    for i, batch in enumerate(batches, 1):
        out.update({f"batch.{i}.{k}": v for k, v in batch.items()})
        act.step(batch, training=True)
        margin = min(margin, act.margin)
        steps.append({"loss": act.loss.item(), "metrics": act.metrics})
        (act.loss / len(act.steps)).backward()
        share = schedule(i, hyper)
        if act.rows is not None:
            ids, lr = act.current["puzzle_identifiers"].long(), share * hyper["puzzle_emb_lr"]
            table = model.puzzle_emb.weights
            for row in ids.unique():
                total = act.rows.grad[ids == row].sum(0)
                table[row] = table[row] * (1 - lr * hyper["puzzle_emb_weight_decay"]) - lr * total.sign()
        for p in model.parameters():
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        optimizer.lr = share * hyper["lr"]
        optimizer.step()
        if i in (1, 5, len(batches)):
            out.update({f"weights_after.{i}.{PREFIX}{k}": v.detach().clone()
                        for k, v in model.state_dict().items() if not k.endswith("_init")})
    names = [n for n, _ in model.named_parameters()]
    out.update({f"ema_final.{PREFIX}{n}": v for n, v in zip(names, optimizer.ema)})
    return out, steps, margin

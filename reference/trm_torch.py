#!/usr/bin/env python3
"""The Tiny Recursive Model in PyTorch, in our own words: the yardstick of benchmarks/ and parity.py, never
a run-time need. Same mathematics as the reference (docs/architecture), written the way one writes
PyTorch: nn.functional, autograd, torch.compile over the whole forward pass. The other four models are
in models_torch.py.

  trm_torch.py serve CONFIG_JSON    read lines "train N" / "eval N" / "memory", answer with a line
                                    of JSON: [seconds, processor seconds] of each step (training
                                    step, or one evaluation step), or peak bytes
"""

import json
import math
import resource
import sys
import time
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import nn

IGNORE = -100


@dataclass
class Config:
    vocab_size: int = 11
    seq_len: int = 81
    num_puzzle_identifiers: int = 1
    puzzle_emb_ndim: int = 512
    puzzle_emb_len: int = 16
    hidden_size: int = 512
    num_heads: int = 8
    expansion: float = 4.0
    H_cycles: int = 3
    L_cycles: int = 6
    H_layers: int = 0
    L_layers: int = 2
    mlp_t: bool = True
    pos_encodings: str = "none"
    rms_norm_eps: float = 1e-5
    rope_theta: float = 1e4
    halt_max_steps: int = 16
    no_ACT_continue: bool = True
    act_enabled: bool = True
    act_inference: bool = False
    arch: str = "trm"
    loss_type: str = "stablemax_cross_entropy"
    forward_dtype: str = "bfloat16"

    @classmethod
    def of(cls, values):
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})

    @property
    def tokens(self):
        return self.prefix + self.seq_len

    @property
    def prefix(self):
        return self.puzzle_emb_len or -(-self.puzzle_emb_ndim // self.hidden_size)

    @property
    def dtype(self):
        return getattr(torch, self.forward_dtype)


def inner_size(width, expansion):
    return -(-round(expansion * width * 2 / 3) // 256) * 256


def wide(x):
    """What the reference computes in float32, in float64 where everything is."""
    return x if x.dtype == torch.float64 else x.float()


def rms(x, eps):
    precise = wide(x)
    return (precise * torch.rsqrt(precise.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


class Linear(nn.Module):
    """float32 master weights, cast to the input's dtype at use."""

    def __init__(self, n_in, n_out, bias=False):
        super().__init__()
        self.weight = nn.Parameter(
            nn.init.trunc_normal_(torch.empty(n_out, n_in), std=n_in**-0.5))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None

    def forward(self, x):
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class SwiGLU(nn.Module):
    def __init__(self, width, expansion):
        super().__init__()
        inner = inner_size(width, expansion)
        self.gate_up_proj = Linear(width, 2 * inner)
        self.down_proj = Linear(inner, width)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)


def rotate(x, cos, sin):
    """Half-split rotary embedding of (batch, tokens, heads, head_dim) in the tables' dtype."""
    a, b = x.to(cos.dtype).chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.head_dim = c.num_heads, c.hidden_size // c.num_heads
        width = self.heads * self.head_dim
        self.qkv_proj = Linear(c.hidden_size, 3 * width)
        self.o_proj = Linear(width, c.hidden_size)

    def forward(self, x, rotary):
        batch, tokens, _ = x.shape
        qkv = self.qkv_proj(x).view(batch, tokens, 3, self.heads, self.head_dim)
        q, k, v = qkv.unbind(2)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.o_proj(mixed.reshape(batch, tokens, -1))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.eps = c.rms_norm_eps
        if c.mlp_t:
            self.mlp_t = SwiGLU(c.tokens, c.expansion)
        else:
            self.self_attn = Attention(c)
        self.mlp = SwiGLU(c.hidden_size, c.expansion)

    def forward(self, h, rotary):
        if hasattr(self, "mlp_t"):
            h = h.transpose(1, 2)
            h = rms(h + self.mlp_t(h), self.eps).transpose(1, 2)
        else:
            h = rms(h + self.self_attn(h, rotary), self.eps)
        return rms(h + self.mlp(h), self.eps)


class Level(nn.Module):
    def __init__(self, c, layers):
        super().__init__()
        self.layers = nn.ModuleList(Block(c) for _ in range(layers))

    def forward(self, h, injection, rotary):
        h = h + injection
        for layer in self.layers:
            h = layer(h, rotary)
        return h


class Embedding(nn.Module):
    def __init__(self, rows, width):
        super().__init__()
        self.embedding_weight = nn.Parameter(
            nn.init.trunc_normal_(torch.empty(rows, width), std=width**-0.5))


class Table(nn.Module):
    def __init__(self, rows, width):
        super().__init__()
        self.register_buffer("weights", torch.zeros(rows, width))


class TRM(nn.Module):
    """Parameters carry the names of the reference's checkpoints, without `model.inner.`."""

    latents = {"z_H": "H_init", "z_L": "L_init"}  # each with its start

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed_tokens = Embedding(c.vocab_size, c.hidden_size)
        self.lm_head = Linear(c.hidden_size, c.vocab_size)
        self.q_head = Linear(c.hidden_size, 2, bias=True)
        if c.puzzle_emb_ndim:
            self.puzzle_emb = Table(c.num_puzzle_identifiers, c.puzzle_emb_ndim)
        if c.pos_encodings == "learned":
            self.embed_pos = Embedding(c.tokens, c.hidden_size)
        self.make_levels(c)
        for start in self.latents.values():
            self.register_buffer(start, torch.randn(c.hidden_size))
        head_dim = c.hidden_size // c.num_heads
        frequency = c.rope_theta ** (-torch.arange(0, head_dim, 2) / head_dim)
        angle = torch.outer(torch.arange(c.tokens).float(), frequency)[:, None, :]
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        with torch.no_grad():
            self.q_head.weight.zero_()
            self.q_head.bias.fill_(-5)

    def make_levels(self, c):
        self.L_level = Level(c, c.L_layers)

    @property
    def rotary(self):
        return (self.cos, self.sin) if self.c.pos_encodings == "rope" else None

    def embed(self, inputs, rows):
        c = self.c
        e = self.embed_tokens.embedding_weight.to(c.dtype)[inputs]
        if c.puzzle_emb_ndim:
            rows = F.pad(rows, (0, c.prefix * c.hidden_size - rows.shape[-1]))
            rows = rows.view(-1, c.prefix, c.hidden_size).to(c.dtype)
            e = torch.cat([rows, e], 1)
        if c.pos_encodings == "learned":
            e = 0.707106781 * (e + self.embed_pos.embedding_weight.to(c.dtype))
        return math.sqrt(c.hidden_size) * e

    def recursion(self, z_H, z_L, x):
        for _ in range(self.c.L_cycles):
            z_L = self.L_level(z_L, z_H + x, self.rotary)
        return self.L_level(z_H, z_L, self.rotary), z_L

    def read(self, z):
        q = wide(self.q_head(z[:, 0]))
        return self.lm_head(z)[:, self.c.prefix:], q[:, 0], q[:, 1]

    def forward(self, z_H, z_L, inputs, rows):
        x = self.embed(inputs, rows)
        with torch.no_grad():
            for _ in range(self.c.H_cycles - 1):
                z_H, z_L = self.recursion(z_H, z_L, x)
        z_H, z_L = self.recursion(z_H, z_L, x)
        return z_H.detach(), z_L.detach(), *self.read(z_H)


def stablemax_loss(logits, labels):
    v = logits.double()
    s = torch.where(v < 0, 1 / (1 - v.clamp(max=0)), v + 1)
    log_p = torch.log(s / s.sum(-1, keepdim=True))
    valid = labels != IGNORE
    picked = log_p.gather(-1, labels.where(valid, 0).long()[..., None])[..., 0]
    return -torch.where(valid, picked, 0)


def total_loss(logits, q_halt, labels):
    count = (labels != IGNORE).sum(-1)
    lm = (stablemax_loss(logits, labels).sum(-1) / count.clamp(min=1)).sum()
    right = ((logits.argmax(-1) == labels) & (labels != IGNORE)).sum(-1) == count
    q = F.binary_cross_entropy_with_logits(q_halt, right.float(), reduction="sum")
    return lm + 0.5 * q


class AdamATan2:
    """With weight decay and the moving average of the weights, by torch's multi-tensor calls."""

    def __init__(self, params, lr=1e-4, decay=1.0, betas=(0.9, 0.95), ema=0.999):
        self.p = list(params)
        self.m = [torch.zeros_like(p) for p in self.p]
        self.v = [torch.zeros_like(p) for p in self.p]
        self.ema = [p.detach().clone() for p in self.p]
        self.lr, self.decay, self.betas, self.rate, self.t = lr, decay, betas, ema, 0

    @torch.no_grad()
    def step(self):
        self.t += 1
        b1, b2 = self.betas
        g = [p.grad for p in self.p]
        torch._foreach_mul_(self.p, 1 - self.lr * self.decay)
        torch._foreach_lerp_(self.m, g, 1 - b1)
        torch._foreach_lerp_(self.v, torch._foreach_mul(g, g), 1 - b2)
        root = torch._foreach_sqrt(self.v)
        torch._foreach_div_(root, math.sqrt(1 - b2**self.t))
        for p, m, r in zip(self.p, self.m, root):
            p.sub_(torch.atan2(m, r), alpha=self.lr / (1 - b1**self.t))
        torch._foreach_lerp_(self.ema, self.p, 1 - self.rate)
        for p in self.p:
            p.grad = None


class Trainer:
    """Steps on one random batch whose rows never halt: the work of a step does not depend on it."""

    def __init__(self, c, batch, compiled):
        torch.manual_seed(0)
        self.c, self.batch = c, batch
        self.model = TRM(c)
        self.forward = torch.compile(self.model) if compiled else self.model
        self.optimizer = AdamATan2(self.model.parameters())
        self.inputs = torch.randint(1, c.vocab_size, (batch, c.seq_len))
        self.labels = torch.randint(1, c.vocab_size, (batch, c.seq_len))
        self.reset()

    def reset(self):
        shape = (self.batch, self.c.tokens, self.c.hidden_size)
        self.z_H = self.model.H_init.to(self.c.dtype).expand(shape).clone()
        self.z_L = self.model.L_init.to(self.c.dtype).expand(shape).clone()

    def rows(self):
        if not self.c.puzzle_emb_ndim:
            return None
        return self.model.puzzle_emb.weights[torch.zeros(self.batch, dtype=torch.long)]

    def train(self):
        rows = self.rows()
        if rows is not None:
            rows.requires_grad_()
        self.z_H, self.z_L, logits, q_halt, _ = self.forward(
            self.z_H, self.z_L, self.inputs, rows)
        (total_loss(logits, q_halt, self.labels) / self.batch).backward()
        self.optimizer.step()
        if rows is not None:  # sign-SGD of the one row all examples share
            table = self.model.puzzle_emb.weights
            table[0] = table[0] * (1 - 1e-4) - 1e-4 * rows.grad.sum(0).sign()

    @torch.inference_mode()
    def evaluate(self):
        self.z_H, self.z_L, logits, _, _ = self.forward(
            self.z_H, self.z_L, self.inputs, self.rows())
        return logits.argmax(-1)


def peak_bytes():
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def serve(settings):
    torch.set_num_threads(settings.get("threads", torch.get_num_threads()))
    trainer = Trainer(Config.of(settings), settings.get("batch", 16),
                      settings.get("compile", False))
    for line in sys.stdin:
        what, *count = line.split()
        if what == "memory":
            print(json.dumps(peak_bytes()), flush=True)
            continue
        step = {"train": trainer.train, "eval": trainer.evaluate}[what]
        seconds = []
        for _ in range(int(count[0])):
            start, cpu = time.perf_counter(), time.process_time()
            step()
            seconds.append([time.perf_counter() - start, time.process_time() - cpu])
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "serve":
        serve(json.loads(sys.argv[2]))
    else:
        sys.exit(__doc__)

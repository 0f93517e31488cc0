"""The other four models of the reference in PyTorch, in our own words, beside trm_torch.TRM, and one way to
run all five: `advance` takes the latents through one ACT step."""

import torch

from trm_torch import TRM, Config, Level


class Recursive(TRM):
    """trm. A model says how one cycle changes its latents; the last cycle alone has a gradient."""

    def cycle(self, z, x):
        return list(self.recursion(*z, x))

    def without_gradient(self, z, x):
        for _ in range(self.c.H_cycles - 1):
            z = self.cycle(z, x)
        return z

    def advance(self, z, x):
        with torch.no_grad():
            z = self.without_gradient(z, x)
        return self.cycle(z, x)

    def starts(self):
        return [getattr(self, name).to(self.c.dtype) for name in self.latents.values()]


class SingleZ(Recursive):
    latents = {"z_L": "L_init"}

    def cycle(self, z, x):
        z = z[0]
        for _ in range(self.c.L_cycles):
            z = self.L_level(z, x, self.rotary)
        return [self.L_level(z, 0, self.rotary)]


class Hier6(Recursive):
    latents = {"z_H": "H_init"} | {f"z_L{i}": f"L{i}_init" for i in range(1, 7)}

    def cycle(self, z, x):
        z = list(z)
        for i in range(1, self.c.L_cycles + 1):
            z[i] = self.L_level(sum(z[1:]), z[0] + x, self.rotary)
        z[0] = self.L_level(z[0], sum(z[1:]), self.rotary)
        return z


class HRM(Recursive):
    """Two networks; only the last call of each has a gradient."""

    def make_levels(self, c):
        self.H_level = Level(c, c.H_layers)
        self.L_level = Level(c, c.L_layers)

    def cycle(self, z, x):
        z_L = self.L_level(z[1], z[0] + x, self.rotary)
        return [self.H_level(z[0], z_L, self.rotary), z_L]

    def without_gradient(self, z, x):
        z_H, z_L = z
        for last in [False] * (self.c.H_cycles - 1) + [True]:
            for _ in range(self.c.L_cycles - last):
                z_L = self.L_level(z_L, z_H + x, self.rotary)
            if not last:
                z_H = self.H_level(z_H, z_L, self.rotary)
        return [z_H, z_L]


class Baseline(Recursive):
    latents = {"z_H": "H_init"}

    def make_levels(self, c):
        self.H_level = Level(c, c.H_layers)

    def cycle(self, z, x):
        return [self.H_level(z[0], x, self.rotary)]

    def without_gradient(self, z, x):
        return z


MODELS = {"trm": Recursive, "trm_singlez": SingleZ, "trm_hier6": Hier6, "hrm": HRM,
          "transformers_baseline": Baseline}


def make(c: Config):
    return MODELS[c.arch](c)

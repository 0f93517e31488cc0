#!/usr/bin/env python3
"""Times the PyTorch twin (reference/trm_torch.py), compiled, on a GPU, as benchmarks/cuda_step does
ours: cuda_twin.py sudoku_mlp|sudoku_attention|maze [steps]"""

import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "reference"))
from trm_torch import Config, Trainer  # noqa: E402

WORKS = {
    "sudoku_mlp": (768, {}),
    "sudoku_attention": (768, {"mlp_t": False, "pos_encodings": "rope"}),
    "maze": (192, {"mlp_t": False, "pos_encodings": "rope", "seq_len": 900, "vocab_size": 6,
                   "L_cycles": 4}),
}

work = sys.argv[1]
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 30
batch, settings = WORKS[work]
torch.set_default_device("cuda")
begin = time.perf_counter()
trainer = Trainer(Config(**settings), batch, True)
times = []
for i in range(steps + 3):
    torch.cuda.synchronize()
    start = time.perf_counter()
    trainer.train()
    torch.cuda.synchronize()
    if i == 0:
        first = time.perf_counter() - begin
    if i >= 3:
        times.append(time.perf_counter() - start)
times.sort()
print(f"{work:<17} twin, compiled, batch {batch} median {times[len(times) // 2] * 1e3:.2f} ms "
      f"(least {times[0] * 1e3:.2f}, most {times[-1] * 1e3:.2f}), "
      f"{torch.cuda.max_memory_reserved() / 1e9:.1f} GB, {first:.1f} s to the end of the first step")

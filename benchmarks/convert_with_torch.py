"""The Python way that `trm convert` is measured against: torch.load, NumPy, mx.savez.

    python benchmarks/convert_with_torch.py INPUT OUTPUT.npz
"""
import sys

import mlx.core as mx
import torch

state = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
arrays = {}
for name, tensor in state.items():
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    arrays[name.replace("_orig_mod.", "")] = mx.array(tensor.numpy())
mx.savez(sys.argv[2], **arrays)

#!/usr/bin/env python3
"""Compares the predictions `trm eval --save-preds` wrote with those the reference recorded, step by
step:  compare_preds.py PREDS.npz GOLDEN.safetensors   (numpy and safetensors needed)"""

import sys

import numpy as np
from safetensors.numpy import load_file

ours = np.load(sys.argv[1])["preds"]
golden = load_file(sys.argv[2])["preds"]
different = ours != golden[: len(ours), : ours.shape[1]]
for step, cells in enumerate(different, 1):
    print(f"step {step:2}: {cells.sum()} of {cells.size} cells differ")
sys.exit(bool(different.any()))

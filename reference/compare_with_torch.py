"""Converts checkpoint files with trm and compares every element with what torch.load gives.

    python reference/compare_with_torch.py [--trm build/trm] FILE_OR_FOLDER ...

Needs torch, numpy and mlx (checks on a developer's machine only; the project itself needs none of them).
One line a file: `same` (bit for bit, through mx.load), `both refuse`, `ours only` (torch refuses, we
read it), `torch only` or `WRONG`. Exit code 1 when a line is WRONG or `torch only` without a reason
in EXPLAINED.
"""
import argparse
import collections
import os
import subprocess
import sys
import tempfile
import warnings

import mlx.core as mx
import numpy as np
import torch

warnings.filterwarnings("ignore")
EXPLAINED = ()  # parts of our error messages for files that torch reads and we refuse on purpose


class Opaque:
    """Stands for any class of a file whose code is not at hand."""

    def __init__(self, *args, **kwargs):
        self.args = args

    def __setstate__(self, state):
        self.__dict__.update(state if isinstance(state, dict) else {})


def walk(obj, path, out, seen):
    """Tensors below obj in file order, named as trm names them."""
    def child(key):
        return f"{path}.{key}" if path else str(key)

    if isinstance(obj, torch.Tensor):
        if obj.is_nested:
            for i, part in enumerate(obj.unbind()):
                out[child(i)] = part
            return
        out[path or "tensor"] = obj
    elif isinstance(obj, np.ndarray) and obj.dtype != object:
        out[path or "tensor"] = torch.from_numpy(obj.astype(obj.dtype.newbyteorder("="))) if obj.dtype.kind in "biufc" else obj
    elif id(obj) in seen:
        return
    elif isinstance(obj, torch.nn.Module):
        seen = seen | {id(obj)}
        left_out = getattr(obj, "_non_persistent_buffers_set", set())
        for key, value in obj._parameters.items():
            walk(value, child(key), out, seen)
        for key, value in obj._buffers.items():
            if key not in left_out:
                walk(value, child(key), out, seen)
        for key, value in obj._modules.items():
            walk(value, child(key), out, seen)
    elif isinstance(obj, collections.abc.Mapping):
        for key, value in obj.items():
            walk(value, child(key), out, seen | {id(obj)})
    elif isinstance(obj, (list, tuple)):
        for i, value in enumerate(obj):
            walk(value, child(i), out, seen | {id(obj)})
    elif isinstance(obj, Opaque):
        walk(obj.__dict__, path, out, seen | {id(obj)})


def torch_tensors(path):
    """What torch.load gives: first its safe loader, then the other one, then TorchScript."""
    errors = []
    for safe in (True, False):
        try:
            obj = torch.load(path, map_location="cpu", weights_only=safe)
            out = {}
            if isinstance(obj, torch.jit.ScriptModule):
                return dict(obj.state_dict())
            walk(obj, "", out, frozenset())
            return out
        except Exception as e:  # any refusal counts as one
            errors.append(e)
    raise errors[0]


def strip(name):
    return ".".join(p for p in name.split(".") if p != "_orig_mod") or name


def expected(t):
    """The array the converter's documentation promises for tensor t."""
    t = t.detach()
    if t.is_sparse or t.layout != torch.strided:
        t = t.to_dense()
    if t.is_quantized:
        t = t.dequantize()
    t = t.resolve_conj().resolve_neg()
    if t.dtype in (torch.complex128, torch.complex32):
        t = t.to(torch.complex64)
    elif t.is_floating_point() and t.dtype not in (torch.float16, torch.float32):
        t = t.float()
    return t.contiguous().numpy()


def same(a, b):
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.tobytes() == b.tobytes():
        return True
    if a.dtype == bool:  # any byte but 0 is True; torch keeps the byte, we and NumPy write 1
        return bool(((a.view(np.uint8) != 0) == (b.view(np.uint8) != 0)).all())
    # A NaN need not keep its payload when its type changed.
    if a.dtype.kind in "fc":
        na, nb = np.isnan(a), np.isnan(b)
        return bool((na == nb).all() and a[~na].tobytes() == b[~nb].tobytes())
    return False


def compare(trm, path, flags=("--key", "."), loader=torch_tensors):
    """(verdict, detail) for one file."""
    try:
        want = {strip(k): v for k, v in loader(path).items()}
        torch_error = None
    except Exception as e:
        want, torch_error = None, str(e).splitlines()[0][:100] if str(e) else type(e).__name__
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.npz")
        run = subprocess.run([trm, "convert", path, out, "--quiet", "--verify", "--no-copy-config", *flags],
                             capture_output=True, text=True)
        if run.returncode not in (0, 1):
            return "WRONG", f"exit code {run.returncode}: {run.stderr.strip()}"
        if run.returncode == 1:
            message = run.stderr.strip()
            if os.listdir(folder):
                return "WRONG", "a refused file left an output behind"
            if len(message.splitlines()) != 1 or not message.startswith("trm: error: "):
                return "WRONG", f"not one line of error: {message}"
            if want is None:
                return "both refuse", message[12:]
            if not want:
                return "same", "no tensors on both sides"
            return "torch only", message[12:]
        got = {k: np.array(v) for k, v in mx.load(out).items()}
        if want is None:
            return "ours only", f"{len(got)} tensors; torch: {torch_error}"
        if set(got) != set(want):
            return "WRONG", f"names differ: {sorted(set(got) ^ set(want))[:4]}"
        for name, tensor in want.items():
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                return "WRONG", f"{name} is a meta tensor"
            if not same(expected(tensor), got[name]):
                return "WRONG", f"{name} differs"
        return "same", f"{len(got)} tensors"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trm", default="build/trm")
    parser.add_argument("paths", nargs="+")
    args = parser.parse_args()
    files = []
    for path in args.paths:
        if os.path.isdir(path):
            for folder, _, names in sorted(os.walk(path)):
                files += [os.path.join(folder, n) for n in sorted(names) if not n.startswith(("LICENSE", "NOTICE"))]
        else:
            files.append(path)
    counts = collections.Counter()
    bad = 0
    for path in files:
        verdict, detail = compare(args.trm, path)
        counts[verdict] += 1
        explained = any(part in detail for part in EXPLAINED)
        bad += verdict == "WRONG" or (verdict == "torch only" and not explained)
        print(f"{verdict:12} {os.path.basename(path)}: {detail}")
    print(", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items())))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

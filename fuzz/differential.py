"""Differential fuzzing: torch.load against `trm convert`, read back with mx.load, bit for bit.

    python fuzz/differential.py [--cases 20000] [--trm build/trm] [--seed 0]

Draws state_dicts (dtypes, strides, aliasing, nesting, NumPy arrays, parameters, protocols, legacy or zip), half of
them then damaged in a few bytes of the file or of the pickle inside it. Cases run in batches, one `trm` process a
batch. A wrong value, a crash, an error of more than one line or a file left behind fails the run, and hypothesis
shrinks the batch. Disagreements about acceptance are counted by cause at the end. Needs torch, mlx and hypothesis.
"""
import argparse
import collections
import glob
import io
import multiprocessing
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "reference"))

import hypothesis
import hypothesis.strategies as st
import mlx.core as mx
import numpy as np
import torch

from compare_with_torch import expected, same, strip, walk

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
BATCH = 50
DTYPES = [torch.float32] * 3 + [torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
          torch.uint8, torch.bool, torch.complex64, torch.complex128, torch.uint16, torch.uint32, torch.uint64,
          torch.float8_e4m3fn, torch.float8_e5m2]
TORCH_ONLY, OURS_ONLY, COUNTS = collections.Counter(), collections.Counter(), collections.Counter()
EXAMPLE = {}  # cause: the first case's seed


def tensor(r, earlier):
    if earlier and r.random() < 0.25:
        t = r.choice(earlier)
        return view(r, t) if r.random() < 0.5 else t
    shape = [r.choice([0, 1, 1, 2, 3, 5, 8]) for _ in range(r.randrange(5))]
    dtype = r.choice(DTYPES)
    count = int(np.prod(shape, dtype=np.int64))
    # bool holds 0 and 1; all other types any bits.
    raw = bytes(r.getrandbits(1 if dtype == torch.bool else 8) for _ in range(count * dtype.itemsize))
    t = torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)
    if dtype == torch.float64 and count:
        t = torch.nan_to_num(t, 0.0, 1.0, -1.0).clamp(-1e30, 1e30)  # out of float32's range is an error of its own
    if dtype == torch.complex128 and count:
        t = torch.complex(torch.nan_to_num(t.real).clamp(-1e30, 1e30), torch.nan_to_num(t.imag).clamp(-1e30, 1e30))
    return view(r, t) if r.random() < 0.6 else t


def view(r, t):
    for _ in range(r.randrange(1, 3)):
        way = r.randrange(7)
        if way == 0 and t.dim() >= 2:
            t = t.transpose(*r.sample(range(t.dim()), 2))
        elif way == 1 and t.dim() >= 1:
            d = r.randrange(t.dim())
            a, b = sorted((r.randrange(t.shape[d] + 1), r.randrange(t.shape[d] + 1)))
            t = t[(slice(None),) * d + (slice(a, b, r.choice([1, 1, 2, 3])),)]
        elif way == 2 and t.dim() < 6:
            t = t.unsqueeze(0).expand(r.choice([1, 2, 3]), *t.shape)
        elif way == 3 and t.dim() >= 1 and t.shape[0] > 0:
            t = t[r.randrange(t.shape[0])]
        elif way == 4 and t.dim() == 2 and t.numel():
            t = t.diagonal()
        elif way == 5 and t.is_complex():
            t = t.conj()
        elif way == 6 and t.dtype in (torch.float32, torch.float64):
            t = torch._neg_view(t)
    return t


def tree(r, depth, earlier):
    out = collections.OrderedDict() if r.random() < 0.6 else {}
    for i in range(r.randrange(1, 5)):
        key = r.choice(["w", "b", "_orig_mod.x", "state_dict", "model", "ü", "a/b", "layer"]) + r.choice(["", str(i)])
        if r.random() < 0.05:
            key = i
        kind = r.random()
        if kind < 0.6:
            value = tensor(r, earlier)
            earlier.append(value)
            if r.random() < 0.1 and value.is_floating_point() and not value.is_neg():
                value = torch.nn.Parameter(value.detach(), requires_grad=r.random() < 0.5)
        elif kind < 0.75 and depth < 3:
            value = tree(r, depth + 1, earlier)
        elif kind < 0.85 and depth < 3:
            value = [tensor(r, []) for _ in range(r.randrange(3))]
            value = tuple(value) if r.random() < 0.5 else value
        elif kind < 0.9:
            value = np.arange(r.randrange(6), dtype=r.choice(["<f4", ">i4", "<u2", "?", "<f8"])).reshape(1, -1)
        else:
            value = r.choice([3, 2**70, -1.5, None, "text", True, torch.Size([2]), b"raw", torch.float16, {1, 2}])
        out[key] = value
    return out


def damage(r, data):
    data = bytearray(data)
    for _ in range(r.choice([1, 1, 1, 2, 4])):
        if not data:
            break
        at, way = r.randrange(len(data)), r.randrange(5)
        if way == 0:
            data[at] ^= 1 << r.randrange(8)
        elif way == 1:
            data[at] = r.choice([0, 1, 255, 127, 128, r.randrange(256)])
        elif way == 2:
            del data[at : at + r.choice([1, 2, 8, 100])]
        elif way == 3:
            data[at:at] = data[at : at + r.choice([1, 4, 16])]
        elif r.random() < 0.3:
            del data[at:]
    return bytes(data)


def damage_pickle(r, data):
    """Damages data.pkl and packs the archive again, so that the damage gets past the zip's directory."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as z, zipfile.ZipFile(out, "w") as new:
        for info in z.infolist():
            body = z.read(info)
            new.writestr(info.filename, damage(r, body) if info.filename.endswith("data.pkl") else body)
    return out.getvalue()


def make_case(seed, path):
    """Writes the case's file; True when it was damaged."""
    r = random.Random(seed)
    while True:
        zipped = r.random() < 0.6
        buffer = io.BytesIO()
        try:
            torch.save(tree(r, 0, []), buffer, _use_new_zipfile_serialization=zipped,
                       pickle_protocol=r.choice([2, 2, 2, 3, 4, 5]))
            break
        except Exception:  # torch cannot save some views (two dtypes over one storage): draw again
            continue
    data = buffer.getvalue()
    damaged = r.random() < 0.5
    if damaged:
        data = damage_pickle(r, data) if zipped and r.random() < 0.5 else damage(r, data)
    with open(path, "wb") as f:
        f.write(data)
    return damaged


def torch_side(path, damaged, connection):
    """In a process of its own: torch may crash or ask for any amount of memory on a damaged file."""
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    result = []
    for one, bad in zip(path, damaged):
        try:
            error = None
            try:
                obj = torch.load(one, map_location="cpu", weights_only=True)
            except Exception as e:
                if bad:  # never the unsafe loader on bytes nobody wrote
                    raise
                error = e
                obj = torch.load(one, map_location="cpu", weights_only=False)
            found = {}
            walk(obj, "", found, frozenset())
            arrays = {strip(k): expected(v) if isinstance(v, torch.Tensor) else expected(torch.from_numpy(v.copy())) for k, v in found.items()}
            total = sum(a.nbytes for a in arrays.values())
            result.append(("large", "") if total > 64 << 20 else ("ok", arrays, error is not None))
        except Exception as e:
            result.append(("refused", f"{type(e).__name__}: {str(e).splitlines()[0][:60] if str(e) else ''}"))
        connection.send(result[-1])
    connection.close()


def torch_results(paths, damaged):
    """One answer a path; a process that dies answers for the file it died on, and a new one goes on."""
    results = []
    while len(results) < len(paths):
        ours, theirs = multiprocessing.Pipe(False)
        process = multiprocessing.Process(target=torch_side, args=(paths[len(results):], damaged[len(results):], theirs))
        process.start()
        theirs.close()
        try:
            while len(results) < len(paths):
                if not ours.poll(60):
                    break
                results.append(ours.recv())
        except EOFError:
            pass
        process.kill()
        process.join()
        if len(results) < len(paths):
            results.append(("refused", "torch crashed or hung"))
    return results


def unsteady(path, first):
    """Whether torch gives other values the next times: of some damaged files it returns memory it never filled."""
    for again in torch_results([path] * 4, [True] * 4):
        if again[0] != "ok" or any(not same(a, again[1][name]) for name, a in first.items()):
            return True
    return False


def explain(message):
    """The cause of a refusal without the names in it."""
    text = message.split("] ", 1)[-1]
    text = re.sub(r"\((tensor|array) .*\)$", "", re.sub(r"'.*'", "'...'", text))
    return re.sub(r"[0-9]+", "N", text).strip()[:90]


def check_batch(trm, seeds):
    folder = tempfile.mkdtemp(prefix="trm-diff-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        paths = [os.path.join(folder, f"in/{i}.pt") for i in range(len(seeds))]
        os.makedirs(os.path.join(folder, "in"))
        damaged = [make_case(seed, path) for seed, path in zip(seeds, paths)]
        wanted = torch_results(paths, damaged)
        out = os.path.join(folder, "out")
        run = subprocess.run([trm, "convert", *paths, "--out-dir", out, "--quiet", "--verify", "--key", ".", "--threads", "1"],
                             capture_output=True, text=True, errors="replace", timeout=600)
        assert run.returncode in (0, 1), f"exit code {run.returncode}: {run.stderr[-500:]}"
        errors = {}
        for line in run.stderr.splitlines():
            assert line.startswith("trm: error: "), f"not one line of error: {line}"
            for path in paths:
                if path + " " in line + " " or path + ":" in line:
                    errors[path] = line[12:]
        assert not glob.glob(os.path.join(out, "*.tmp-*")), "a temporary file was left behind"
        for seed, path, want in zip(seeds, paths, wanted):
            npz = os.path.join(out, os.path.basename(path) + ".npz")
            ours = os.path.exists(npz)
            COUNTS["cases"] += 1
            if want[0] == "large":
                COUNTS["beyond 64 MiB, not compared"] += 1
            elif want[0] == "refused":
                COUNTS["both refuse" if not ours else "ours only"] += 1
                if ours:
                    cause = re.sub("[0-9]+|0x[0-9a-f]+", "N", want[1])
                    OURS_ONLY[cause] += 1
                    EXAMPLE.setdefault(cause, seed)
            elif not ours:
                if not want[1]:
                    COUNTS["no tensors on both sides"] += 1
                    continue
                COUNTS["torch only"] += 1
                cause = explain(errors.get(path, "unknown (error of another file?)"))
                TORCH_ONLY[cause] += 1
                EXAMPLE.setdefault(cause, seed)
            else:
                got = {k: np.array(v) for k, v in mx.load(npz).items()}
                assert set(got) == set(want[1]), f"seed {seed}: names {sorted(set(got) ^ set(want[1]))[:4]}"
                wrong = [name for name, array in want[1].items() if not same(array, got[name])]
                bad = damaged[seeds.index(seed)]
                if wrong and bad and unsteady(path, want[1]):
                    COUNTS["torch's own answers differ from load to load"] += 1
                    continue
                assert not wrong, f"seed {seed}: {wrong[0]} differs"
                COUNTS["same"] += 1
                COUNTS["same, though damaged"] += bad
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--trm", default="build/trm")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    trm = os.path.abspath(args.trm)

    @hypothesis.seed(args.seed)
    @hypothesis.settings(max_examples=max(1, args.cases // BATCH), deadline=None, database=None,
                         suppress_health_check=list(hypothesis.HealthCheck), print_blob=False)
    @hypothesis.given(st.lists(st.integers(0, 2**48), min_size=BATCH, max_size=BATCH, unique=True))
    def run(seeds):
        check_batch(trm, seeds)

    try:
        run()
    finally:
        print(", ".join(f"{n} {what}" for what, n in COUNTS.most_common()))
        for title, counter in (("torch reads it, we refuse", TORCH_ONLY), ("we read it, torch refuses", OURS_ONLY)):
            print(title + ":")
            for what, n in counter.most_common():
                print(f"  {n:6} {what} (as seed {EXAMPLE[what]})")


if __name__ == "__main__":
    main()

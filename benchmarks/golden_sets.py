#!/usr/bin/env python3
"""Builds the reference's real-size data sets and compares every file's SHA-256 with the recorded ones, with time and
peak memory beside the reference's. Python's standard library only; needs ../shared, and for arc1000 8 GB of disk.

    python3 benchmarks/golden_sets.py build/trm --work /tmp/sets [sudoku20 sudoku1000 arc20 arc100 arc1000]

Sudoku: the recorded test split comes from 20,000 rows of which ../shared has the first 10,000, so its training files are
compared (they come first and depend on nothing else).
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
ARC = {"arc20": 20, "arc100": 100, "arc1000": 1000}
SUDOKU = {"sudoku20": 20, "sudoku1000": 1000}


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run(command):
    """Wall seconds, processor seconds and peak memory in MB of a program."""
    start = time.time()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return time.time() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def build(trm, name, work):
    """The command, the record, and the part of the files that is compared."""
    out = work / name
    shutil.rmtree(out, ignore_errors=True)
    if name in SUDOKU:
        source = work / "csv"
        source.mkdir(exist_ok=True)
        shutil.copy(SHARED / "data/sudoku-extreme-1k/train.csv", source / "train.csv")
        shutil.copy(SHARED / "data/sudoku-extreme-1k/test_hard_10k.csv", source / "test.csv")
        command = [trm, "dataset", "sudoku", "--input-dir", source, "--output-dir", out, "--layout", "reference"]
        record = f"sudoku_1k_aug{SUDOKU[name]}_seed0_sha.json"
        return command + ["--num-aug", str(SUDOKU[name])], record, "train/", out
    source = work / "kaggle"
    if not source.exists():
        with tarfile.open(SHARED / "data/arc/arc-agi-kaggle-combined.tar.xz") as archive:
            archive.extractall(source, filter="data")
    prefix = next(source.rglob("arc-agi_training_challenges.json")).parent / "arc-agi"
    command = [trm, "dataset", "arc", "--input-file-prefix", prefix, "--output-dir", out, "--subsets", "training"]
    command += ["evaluation", "concept", "--test-set-name", "evaluation", "--num-aug", str(ARC[name])]
    return command, f"arc1_concept_aug{ARC[name]}_seed42_sha.json", "", out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trm")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("sets", nargs="*", default=["sudoku20", "sudoku1000", "arc20", "arc100"])
    options = parser.parse_intermixed_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for name in options.sets:
        command, record, part, out = build(options.trm, name, options.work)
        clock, cpu, memory = run(command)
        recorded = json.loads((SHARED / "golden/dataset" / record).read_text())
        wrong = [f for f, info in recorded["files"].items() if f.startswith(part) and sha256(out / f) != info["sha256"]]
        compared = sum(f.startswith(part) for f in recorded["files"])
        theirs = f"{recorded['seconds']:.0f} s" + (f", {recorded['maxrss_MB']:.0f} MB" if "maxrss_MB" in recorded else "")
        print(
            f"{name}: {compared - len(wrong)} of {compared} files equal{', wrong: ' + ', '.join(wrong) if wrong else ''};"
            f" {clock:.1f} s ({cpu:.1f} s of processor), {memory:.0f} MB; the reference: {theirs}",
            flush=True,
        )
        shutil.rmtree(out)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Steps of `trm bench` against the PyTorch twin (reference/trm_torch.py) on the CPU, taken in turns.

  benchmarks/compare_torch.py [--program build/trm] [--rounds N] [--steps N] [--threads N]
                              [--compile] [case ...]

Every round runs the twin (one process, warm), then a fresh `trm bench` with one step of warm-up, so
that a change of the machine's load meets both. Prints the medians over all rounds: seconds on the
clock, seconds of processor time (which other processes disturb less), and peak memory.
With --compile the twin is also measured under torch.compile. Needs Python with torch.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUDOKU = {"vocab_size": 11, "seq_len": 81, "L_cycles": 6}
ATTENTION = SUDOKU | {"mlp_t": False, "pos_encodings": "rope"}
MAZE = {"vocab_size": 6, "seq_len": 900, "L_cycles": 4, "mlp_t": False, "pos_encodings": "rope"}
CASES = {  # name: (task, mode, dtype, batch, twin's configuration)
    "train-float32": ("sudoku", "train", "float32", 16, SUDOKU),
    "train-bfloat16": ("sudoku", "train", "bfloat16", 16, SUDOKU),
    "attention-float32": ("sudoku-attention", "train", "float32", 16, ATTENTION),
    "attention-bfloat16": ("sudoku-attention", "train", "bfloat16", 16, ATTENTION),
    "maze-bfloat16": ("maze", "train", "bfloat16", 2, MAZE),
    "eval-float32": ("sudoku", "eval", "float32", 64, SUDOKU),
    "eval-bfloat16": ("sudoku", "eval", "bfloat16", 64, SUDOKU),
}


class Twin:
    def __init__(self, settings):
        command = [sys.executable, str(ROOT / "reference/trm_torch.py"), "serve",
                   json.dumps(settings)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(name, o):
    task, mode, dtype, batch, config = CASES[name]
    settings = config | {"forward_dtype": dtype, "batch": batch, "threads": o.threads}
    twins = {"eager": Twin(settings)}
    if o.compile:
        twins["compiled"] = Twin(settings | {"compile": True})
    for twin in twins.values():
        twin.ask(f"{mode} 1")
    runs = {key: [] for key in (*twins, "trm")}
    memory = 0
    for _ in range(o.rounds):
        for key, twin in twins.items():
            runs[key] += twin.ask(f"{mode} {o.steps}")
        answer = json.loads(subprocess.check_output(
            [o.program, "bench", "--json", "--task", task, "--mode", mode, "--dtype", dtype,
             "--batch-size", str(batch), "--steps", str(o.steps), "--threads", str(o.threads)]))
        runs["trm"] += zip(answer["seconds"], answer["cpu_seconds"])
        memory = max(memory, answer["peak_memory"])
    peaks = {key: twin.ask("memory") for key, twin in twins.items()} | {"trm": memory}
    for twin in twins.values():
        twin.close()
    median = {key: [statistics.median(column) for column in zip(*values)]
              for key, values in runs.items()}
    best = min(twins, key=lambda key: median[key][0])
    for key, (clock, cpu) in median.items():
        print(f"{name:20} {key:9} {clock:8.3f} s  {cpu:8.3f} s cpu  {peaks[key] / 1e6:7.0f} MB")
    wall, cpu = (median[best][i] / median["trm"][i] for i in (0, 1))
    print(f"{name:20} {best} / trm: {wall:.2f} on the clock, {cpu:.2f} in processor time, "
          f"memory {memory / peaks[best]:.2f}; rate {answer['flop'] / median['trm'][0] / 1e9:.0f} "
          f"of {answer['matmul_rate'] / 1e9:.0f} GFLOP/s", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--program", default=str(ROOT / "build/trm"))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=2)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--compile", action="store_true")
    p.add_argument("case", nargs="*", default=list(CASES), help="of: " + ", ".join(CASES))
    o = p.parse_args()
    for name in o.case:
        measure(name, o)


if __name__ == "__main__":
    main()

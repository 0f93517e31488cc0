#!/usr/bin/env python3
"""Steps of `trm bench` against the PyTorch twin (reference/trm_torch.py) on the CPU, taken in turns.

  benchmarks/compare_torch.py [--program build/trm] [--rounds N] [--steps N] [--threads N]
                              [--compile] [--checkpoint FILE --csv FILE] [case ...]

Every round runs the twin (one process, warm), then a fresh `trm bench` with one step of warm-up, so
that a change of the machine's load meets both. Prints the medians over all rounds: seconds on the
clock, seconds of processor time (which other processes disturb less), and peak memory; then each round's seconds, their ratio and the
median of those ratios, which a machine whose speed drifts disturbs least.
With --compile the twin is also measured under torch.compile. Needs Python with torch.
With --checkpoint and --csv also the whole programs `trm eval` (with and without --early-stop) and
`trm solve` (another puzzle each round), from their start to their end, against the twin's 16 steps
on as many puzzles with its process already warm.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
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
WHOLE = {  # name: (arguments of trm, puzzles, the twin's batch)
    "program-eval": (["eval"], 128, 64),
    "program-early-stop": (["eval", "--early-stop"], 128, 64),
    "program-solve": (["solve"], 1, 1),  # as a user calls it: stops once the answer obeys the rules
    "program-solve-16": (["solve", "--views", "1"], 1, 1),  # all steps, unless the answer is right
}
ACT_STEPS = 16


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
    rounds = []  # of each the seconds of every program, medians
    memory = 0
    for _ in range(o.rounds):
        for key, twin in twins.items():
            runs[key] += twin.ask(f"{mode} {o.steps}")
        answer = json.loads(subprocess.check_output(
            [o.program, "bench", "--json", "--task", task, "--mode", mode, "--dtype", dtype,
             "--batch-size", str(batch), "--steps", str(o.steps), "--threads", str(o.threads)]))
        runs["trm"] += zip(answer["seconds"], answer["cpu_seconds"])
        rounds.append({key: statistics.median(clock for clock, _ in values[-o.steps:])
                       for key, values in runs.items()})
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
          f"of {answer['matmul_rate'] / 1e9:.0f} GFLOP/s")
    pairs = [(r[best], r["trm"]) for r in rounds]
    print(f"{name:20} rounds: " + ", ".join(f"{a:.3f}/{b:.3f}={a / b:.2f}" for a, b in pairs)
          + f"; median of the ratios {statistics.median(a / b for a, b in pairs):.2f}", flush=True)


def measure_whole(name, o):
    arguments, puzzles, batch = WHOLE[name]
    settings = SUDOKU | {"forward_dtype": "bfloat16", "batch": batch, "threads": o.threads}
    settings |= json.loads(o.twin)
    twins = {"eager": Twin(settings)}
    if o.compile:
        twins["compiled"] = Twin(settings | {"compile": True})
    command = [o.program, *arguments, "--threads", str(o.threads), "--steps", str(ACT_STEPS)]
    if arguments[0] == "solve":
        command += ["--checkpoint", o.checkpoint, "--line"]
        with open(o.csv) as f:
            questions = [row.split(",")[1] for row in f.read().splitlines()[1:]]
    else:
        command += [o.checkpoint, "--csv", o.csv, "--limit", str(puzzles)]
    times = {key: [] for key in (*twins, "trm")}
    for twin in twins.values():
        twin.ask("eval 1")
    for i in range(o.rounds):
        for key, twin in twins.items():
            some = ACT_STEPS if puzzles == 1 else 2  # every step of the twin costs the same
            steps = [seconds for seconds, _ in twin.ask(f"eval {some}")]
            times[key].append(statistics.mean(steps) * ACT_STEPS * puzzles / batch)
        puzzle = [questions[i]] if puzzles == 1 else []
        start = time.perf_counter()
        subprocess.run(command + puzzle, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        times["trm"].append(time.perf_counter() - start)
    for twin in twins.values():
        twin.close()
    median = {key: statistics.median(t) for key, t in times.items()}
    best = min(twins, key=median.get)
    print(f"{name:20} {puzzles} puzzles, {ACT_STEPS} steps: "
          + ", ".join(f"{key} {t:.3f} s" for key, t in median.items())
          + f"; {best} / trm: {median[best] / median['trm']:.2f}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--program", default=str(ROOT / "build/trm"))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=2)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--compile", action="store_true")
    p.add_argument("--checkpoint")
    p.add_argument("--csv")
    p.add_argument("--twin", default="{}", help="JSON: the checkpoint's configuration, where not step_6510's")
    p.add_argument("case", nargs="*", help="of: " + ", ".join((*CASES, *WHOLE)))
    o = p.parse_args()
    for name in o.case or (*CASES, *(WHOLE if o.checkpoint and o.csv else ())):
        (measure_whole if name in WHOLE else measure)(name, o)


if __name__ == "__main__":
    main()

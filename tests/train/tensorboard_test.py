"""The event files of a run, read back by the `tensorboard` package, against its metrics.jsonl.

  tensorboard_test.py TRM

Exits 77 with a reason where Python has no tensorboard (TRM_TEST_PYTHON names another Python).
"""

import json
import os
import subprocess
import sys
import tempfile

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    other = os.environ.get("TRM_TEST_PYTHON")
    if other and os.path.abspath(other) != os.path.abspath(sys.executable):
        os.execv(other, [other, "-B"] + sys.argv)
    print("skipped: this Python has no tensorboard package; set TRM_TEST_PYTHON to one that has")
    sys.exit(77)

TINY = ["evaluators=[]", "epochs=4", "eval_interval=2", "global_batch_size=8", "lr_warmup_steps=4",
        "arch.hidden_size=16", "arch.num_heads=2", "arch.L_layers=1", "arch.H_cycles=2",
        "arch.L_cycles=1", "arch.puzzle_emb_len=1", "arch.halt_max_steps=3",
        "arch.forward_dtype=float32", "project_name=p", "run_name=r", "tensorboard=True"]


def check(is_so, what):
    if not is_so:
        raise AssertionError(what)


def main(trm):
    with tempfile.TemporaryDirectory(prefix="trm-tensorboard-") as folder:
        def run(*arguments):
            subprocess.run([trm, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)

        run("dataset", "sudoku", "--size", "4", "--generate", "40", "--test-size", "10",
            "--output-dir", "data")
        # Stopped and resumed: TensorBoard joins the files of both processes.
        run("pretrain", "data_paths=[data]", *TINY, "max_steps=7")
        run("pretrain", "resume=checkpoints/p/r", "max_steps=null")
        home = os.path.join(folder, "checkpoints/p/r")
        events = EventAccumulator(home)
        events.Reload()
        with open(os.path.join(home, "metrics.jsonl")) as lines:
            wanted = {}
            for line in map(json.loads, lines):
                for name, value in line.items():
                    if name not in ("step", "time"):
                        wanted.setdefault(name, []).append((line["step"], value))
        check(set(events.Tags()["scalars"]) == set(wanted), events.Tags()["scalars"])
        check({"train/loss", "train/lr", "eval/exact_accuracy"} <= set(wanted), list(wanted))
        count = 0
        for name, series in wanted.items():
            read = [(e.step, e.value) for e in events.Scalars(name)]
            check([s for s, _ in read] == [s for s, _ in series], f"steps of {name}: {read}")
            for (step, ours), (_, written) in zip(read, series):
                check(abs(ours - written) <= 1e-6 * max(1, abs(written)), f"{name} at step {step}: {ours}, not {written}")
                count += 1
        check(len(wanted["train/loss"]) == 20, "20 training steps")
        print(f"{count} values of {len(wanted)} series read back")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))

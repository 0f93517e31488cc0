"""Times `trm convert` against the Python way and against cp: whole processes, interleaved, medians.

    python benchmarks/convert.py FILE ... [--repeat 5] [--trm build/trm] [--make 1200]

--make MB first makes such a checkpoint (half float32, half bfloat16) in the temporary folder and adds it to the
files. `cp` copies the input and then the output, the least that anyone could do. Memory is the process's
anonymous peak (VmHWM minus file pages) sampled while it runs. Needs torch and mlx for the Python side.
"""
import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time


def timed(command, out):
    """Seconds of a command that writes `out` anew, to a disk that rests."""
    if os.path.exists(out):
        os.remove(out)
    os.sync()
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def anonymous_peak(command):
    """Largest RssAnon (MiB) of the process, sampled every 2 ms."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as f:
                for line in f:
                    if line.startswith("RssAnon"):
                        peak = max(peak, int(line.split()[1]))
        except OSError:
            pass
        time.sleep(0.002)
    assert process.returncode == 0
    return peak / 1024


def make_checkpoint(path, megabytes):
    import torch

    state, block = {}, 16 << 20
    for i in range(megabytes * (1 << 20) // (2 * block)):
        state[f"_orig_mod.layers.{i}.weight"] = torch.randn(block // 4 // 1024, 1024)
        state[f"_orig_mod.layers.{i}.half"] = torch.randn(block // 2 // 1024, 1024).to(torch.bfloat16)
    torch.save(state, path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--trm", default="build/trm")
    parser.add_argument("--make", type=int, default=0)
    args = parser.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        if args.make:
            made = os.path.join(folder, f"made_{args.make}MB.pt")
            make_checkpoint(made, args.make)
            args.files.append(made)
        for path in args.files:
            out = os.path.join(folder, "out.npz")
            ways = {
                "trm": lambda: timed([args.trm, "convert", path, out, "--quiet", "--no-copy-config"], out),
                "trm --verify": lambda: timed([args.trm, "convert", path, out, "--quiet", "--no-copy-config", "--verify"], out),
                "python": lambda: timed([sys.executable, os.path.join(here, "convert_with_torch.py"), path, out], out),
                "cp": lambda: timed(["cp", path, out + ".in"], out + ".in") + timed(["cp", out, out + ".out"], out + ".out"),
            }
            times = {name: [] for name in ways}
            ways["trm"]()  # not counted: reads the file into the system's cache, leaves cp its second input
            for _ in range(args.repeat):
                for name in random.sample(list(ways), len(ways)):  # none always after the same one
                    times[name].append(ways[name]())
            median = {name: statistics.median(t) for name, t in times.items()}
            memory = anonymous_peak([args.trm, "convert", path, out, "--quiet", "--no-copy-config"])
            size = os.path.getsize(path) / (1 << 20)
            print(f"{os.path.basename(path)} ({size:.0f} MB, median of {args.repeat}): "
                  + ", ".join(f"{name} {t * 1000:.0f} ms" for name, t in median.items()))
            print(f"  python / trm = {median['python'] / median['trm']:.1f}, trm / cp = {median['trm'] / median['cp']:.2f}, "
                  f"--verify / plain = {median['trm --verify'] / median['trm']:.2f}, anonymous memory {memory:.0f} MiB")
            for name in (out, out + ".in", out + ".out"):
                if os.path.exists(name):
                    os.remove(name)


if __name__ == "__main__":
    main()

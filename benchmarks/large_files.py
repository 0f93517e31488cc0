"""Converts files of 8 GB whose data are holes, and prints the memory that takes.

    python3 benchmarks/large_files.py [--trm build/trm] [--gigabytes 8] [--folder /tmp]

A torch zip and a safetensors file hold one float32 tensor as large as the file; each is converted to .npz and .pt
(zip64) with --verify. Anonymous memory is the largest RssAnon of the process, sampled every 5 ms. Output is read by
Python's zipfile as far as its directory goes. Standard library only; the folder needs room for the output.
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from convert import anonymous_peak


def make_safetensors(path, count):
    header = json.dumps({"w": {"dtype": "F32", "shape": [count // 1024, 1024], "data_offsets": [0, 4 * count]}}).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header)
        f.truncate(8 + len(header) + 4 * count)


def make_torch(path, count):
    """One stored record as a hole; CRCs are zero, as torch writes them on request."""
    def text(s):
        return b"X" + struct.pack("<I", len(s)) + s

    def integer(n):
        return b"\x8a\x08" + struct.pack("<q", n)

    pickle = (b"\x80\x02}" + text(b"w") + b"ctorch._utils\n_rebuild_tensor_v2\n((" + text(b"storage") +
              b"ctorch\nFloatStorage\n" + text(b"0") + text(b"cpu") + integer(count) + b"tQK\x00(" +
              integer(count // 1024) + integer(1024) + b"t(" + integer(1024) + integer(1) + b"t\x89" +
              b"ccollections\nOrderedDict\n)RtRs.")
    records = [(b"m/data.pkl", pickle, len(pickle)), (b"m/byteorder", b"little", 6), (b"m/data/0", b"", 4 * count),
               (b"m/version", b"3\n", 2)]
    directory = b""
    with open(path, "wb") as f:
        for name, data, size in records:
            at = f.tell()
            extra = struct.pack("<HHQQQ", 1, 24, size, size, at)
            full = 0xFFFFFFFF
            f.write(struct.pack("<IHHHHHIIIHH", 0x04034B50, 45, 0, 0, 0, 0, 0, full, full, len(name), 20) + name +
                    struct.pack("<HHQQ", 1, 16, size, size) + data)
            f.seek(f.tell() + size - len(data))
            directory += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 45, 45, 0, 0, 0, 0, 0, full, full, len(name),
                                     len(extra), 0, 0, 0, 0, full) + name + extra
        at = f.tell()
        f.write(directory)
        n = len(records)
        f.write(struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, n, n, len(directory), at))
        f.write(struct.pack("<IIQI", 0x07064B50, 0, at + len(directory), 1))
        f.write(struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trm", default="build/trm")
    parser.add_argument("--gigabytes", type=float, default=8)
    parser.add_argument("--folder", default=None)
    args = parser.parse_args()
    count = int(args.gigabytes * (1 << 30)) // 4096 * 1024
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for make in (make_torch, make_safetensors):
            source = os.path.join(folder, "source")
            make(source, count)
            for extension in (".npz", ".pt"):
                out = os.path.join(folder, "out" + extension)
                start = time.perf_counter()
                memory = anonymous_peak([args.trm, "convert", source, out, "--quiet", "--verify", "--no-copy-config"])
                seconds = time.perf_counter() - start
                with zipfile.ZipFile(out) as z:
                    largest = max(i.file_size for i in z.infolist())
                print(f"{make.__name__[5:]} of {os.path.getsize(source) / 2**30:.1f} GiB to {extension}, verified: "
                      f"{memory:.0f} MiB of anonymous memory, {seconds:.0f} s, a record of {largest} bytes in it", flush=True)
                os.remove(out)
            os.remove(source)


if __name__ == "__main__":
    main()

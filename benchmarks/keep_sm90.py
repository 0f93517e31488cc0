"""Overwrites with zeros the GPU code of a shared library that is not for compute capability 9.0."""
import struct
import subprocess
import sys

path = sys.argv[1]
data = bytearray(open(path, "rb").read())
for line in subprocess.run(["readelf", "-SW", path], capture_output=True, text=True).stdout.splitlines():
    parts = line.replace("[ ", "[").split()
    if len(parts) > 5 and parts[1] == ".nv_fatbin":
        at, size = int(parts[4], 16), int(parts[5], 16)
end = at + size
while at < end:
    if data[at : at + 4] != b"\x50\xed\x55\xba":  # padding between containers
        at += 8
        continue
    header, length = struct.unpack_from("<HQ", data, at + 6)
    entry, at = at + header, at + header + length
    while entry < at:
        kind, _, entry_header, entry_size = struct.unpack_from("<HHIQ", data, entry)
        arch = struct.unpack_from("<I", data, entry + 28)[0]
        if kind != 2 or arch != 90:
            data[entry + entry_header : entry + entry_header + entry_size] = bytes(entry_size)
        entry += entry_header + entry_size
    at = (at + 7) // 8 * 8
open(path, "wb").write(data)

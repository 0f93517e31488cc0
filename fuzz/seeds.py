"""Makes the seed corpora from tests/fixtures/checkpoint: python3 fuzz/seeds.py FOLDER (standard library only)."""
import json
import pathlib
import sys
import zipfile

out = pathlib.Path(sys.argv[1])
cases = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/checkpoint/cases"
regressions = pathlib.Path(__file__).resolve().parent / "regressions"


def add(target, name, data):
    folder = out / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


for path in sorted(cases.iterdir()):
    data = path.read_bytes()
    if len(data) > 40_000:
        continue
    add("convert", path.name, data)
    if path.name.startswith("legacy"):
        add("legacy", path.name, data)
    elif path.suffix == ".tar":
        add("tar", path.name, data)
    elif path.suffix in (".npz", ".npy"):
        add("npy", path.name, data)
    elif path.suffix == ".safetensors":
        add("safetensors", path.name, data)
    else:
        add("zip", path.name, data)
        with zipfile.ZipFile(path) as z:
            for name in z.namelist():
                if name.endswith("data.pkl"):
                    with z.open(name) as f:
                        f._expected_crc = None  # some cases have none
                        add("pickle", path.name, f.read())
SUDOKU = "1...3......4..2.", "1243342121344312"  # not each other's; the readers say so
for name, shape, dtype, item in ("u1", (2, 2), "|u1", 1), ("i8", (3,), "<i8", 8), ("f4", (), "<f4", 4):
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (118 - 1 - len(text)) + b"\n"
    count = 1
    for n in shape:
        count *= n
    add("data_npy", name, b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(count * item))
add("data_json", "metadata", json.dumps(dict(
    pad_id=0, ignore_label_id=0, blank_identifier_id=0, vocab_size=11, seq_len=81, num_puzzle_identifiers=1,
    total_groups=20, mean_puzzle_examples=1.0, total_puzzles=20, sets=["all"])).encode())
add("data_json", "task", b'{"test": [{"input": [[1, 2]]}], "train": [{"input": [[0]], "output": [[3], [4]]}]}')
add("serve_request", "sudoku4", json.dumps({"puzzle": "1.3..41..1.34..1", "steps": 3, "stream": True}).encode())
add("serve_request", "sudoku9", json.dumps({"puzzle": "7" + "." * 80, "early_stop": False}).encode())
add("serve_request", "maze", json.dumps({"puzzle": "S #\n  #\n# G\n"}).encode())
add("serve_request", "arc", json.dumps({"puzzle": [[0, 9], [3, 1]], "task": "b", "identifier": 1}).encode())
add("serve_request", "kind", json.dumps({"kind": "maze", "puzzle": "S  \n # \n  G\n"}).encode())
add("serve_request", "host", b"127.0.0.1:8080")
add("data_json", "name", b'"007bbfb7|||t3|||0123456789"')
add("data_csv", "sudoku", ("source,question,answer,rating\nx,%s,%s,7\n" % SUDOKU).encode())
add("data_csv", "quotes", b'source,question,answer,rating\r\n"a ""b""",S  G,SooG,0\r\n')
for path in regressions.glob("*/*") if regressions.exists() else []:
    add(path.parent.name, path.name, path.read_bytes())

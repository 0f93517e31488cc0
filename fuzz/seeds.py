"""Makes the seed corpora from tests/fixtures/checkpoint: python3 fuzz/seeds.py FOLDER (standard library only)."""
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
for path in regressions.glob("*/*") if regressions.exists() else []:
    add(path.parent.name, path.name, path.read_bytes())

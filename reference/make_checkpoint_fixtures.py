"""Makes tests/fixtures/checkpoint: small checkpoint files of every kind, with the arrays they must give.

    python reference/make_checkpoint_fixtures.py

Needs torch, numpy, safetensors and mlx, on the machine of whoever changes the fixtures only. `cases/NAME.*` is
an input and `cases/NAME.expected.npz` what `trm convert --key .` must make of it, computed by torch.
"""
import collections
import io
import os
import pickle
import struct
import sys
import tarfile
import warnings
import zipfile

import mlx.core as mx
import numpy as np
import torch
from safetensors.torch import save_file

from compare_with_torch import expected, strip, walk

warnings.filterwarnings("ignore")
HERE = os.path.join(os.path.dirname(__file__), "..", "tests", "fixtures", "checkpoint")
CASES = os.path.join(HERE, "cases")
OD = collections.OrderedDict


def tensors_of(obj):
    out = {}
    walk(obj, "", out, frozenset())
    return {strip(k): v for k, v in out.items()}


def write_expected(name, tensors):
    arrays = {k: expected(v) if isinstance(v, torch.Tensor) else v for k, v in tensors.items()}
    np.savez(os.path.join(CASES, name + ".expected.npz"), **arrays)


def case(name, obj, extension=".pt", want=None, **options):
    path = os.path.join(CASES, name + extension)
    torch.save(obj, path, **options)
    write_expected(name, tensors_of(obj) if want is None else want)
    return path


def repack(path, change, **options):
    """Rewrites the records of a zip; change(name, data) gives what is stored (None: left out)."""
    with zipfile.ZipFile(path) as z:
        records = [(i.filename, z.read(i)) for i in z.infolist()]
    with zipfile.ZipFile(path, "w", **options) as z:
        for name, data in records:
            data = change(name, data)
            if data is not None:
                z.writestr(zipfile.ZipInfo(name), data, compress_type=options.get("compression", 0))


def every_dtype():
    g = torch.Generator().manual_seed(1)
    f = torch.randn(3, 5, generator=g)
    state = OD()
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
                  torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz):
        state["f." + str(dtype)[6:]] = f.to(dtype)
    state["f.float8_e8m0fnu"] = torch.tensor([1.0, 2.0, 0.25]).to(torch.float8_e8m0fnu)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64):
        info = torch.iinfo(dtype)
        state["i." + str(dtype)[6:]] = torch.tensor([info.min, info.max, 7], dtype=dtype)
    state["i.bool"] = torch.tensor([True, False, True])
    for dtype in (torch.complex64, torch.complex128, torch.complex32):
        state["c." + str(dtype)[6:]] = torch.complex(f, f.flip(0)).to(dtype)
    state["special"] = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 1e-45])
    return state


def legacy_dtypes():
    return OD((k, v) for k, v in every_dtype().items()
              if v.dtype not in (torch.complex32, torch.uint16, torch.uint32, torch.uint64) and "float8" not in k)


def strided():
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    state = OD()
    state["transposed"] = base.permute(2, 0, 1)
    state["sliced"] = base[1:, ::2, 1:4]
    state["expanded"] = base[:1, :1].expand(3, 4, 5)
    state["row"] = base[0, 0].expand(6, 5)
    state["scalar"] = base[2, 3, 4]
    state["empty"] = torch.zeros(0, 7).t()
    state["one"] = torch.zeros(1, 1, 1).expand(1, 1, 1)
    state["channels_last"] = torch.arange(120.0).reshape(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state["diagonal"] = torch.arange(25, dtype=torch.int16).reshape(5, 5).diagonal()
    return state


def parts():
    c = torch.tensor([1 + 2j, 3 - 4j])
    return OD(conj=c.conj(), neg=torch._neg_view(torch.tensor([1.0, -2.0])), both=torch._neg_view(c.clone().conj()))


class Net(torch.nn.Module):
    """Only for the TorchScript case: its parameters, buffers and submodules."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 2)
        self.norm = torch.nn.BatchNorm1d(2)
        self.scale = torch.nn.Parameter(torch.tensor([2.0, 3.0]))

    def forward(self, x):
        return self.norm(self.first(x)) * self.scale


def make_tar(name):
    """The format of torch before 0.1.10."""
    data = {"w": torch.arange(6, dtype=torch.float32).reshape(2, 3), "half": torch.tensor([1.5, -2.0], dtype=torch.float64)}
    root = torch.arange(12, dtype=torch.int32)
    data["view"] = root[4:8]

    def dump(obj):
        return pickle.dumps(obj, protocol=2)

    storages, tensors = io.BytesIO(), io.BytesIO()
    class_of = {torch.float32: torch.FloatStorage, torch.float64: torch.DoubleStorage, torch.int32: torch.IntStorage}
    storages.write(dump(3))
    for key, value in ((1, data["w"]), (2, data["half"]), (3, root)):
        storages.write(dump((key, "cpu", class_of[value.dtype])))
        storages.write(struct.pack("<q", value.numel()) + value.contiguous().numpy().tobytes())
    storages.write(dump([(4, 3, 2, 8)]))  # storage 4: eight elements of storage 3 from its third on
    tensors.write(dump(3))
    for key, storage, kind, shape, stride, offset in ((11, 1, torch.FloatTensor, (2, 3), (3, 1), 0),
                                                      (12, 2, torch.DoubleTensor, (2,), (1,), 0),
                                                      (13, 4, torch.IntTensor, (4,), (1,), 2)):
        tensors.write(dump((key, storage, kind)) + struct.pack("<ii", len(shape), 0))
        tensors.write(struct.pack(f"<{len(shape)}q", *shape) + struct.pack(f"<{len(stride)}q", *stride))
        tensors.write(struct.pack("<q", offset))

    class Key:
        def __init__(self, n):
            self.n = n

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return obj.n if isinstance(obj, Key) else None

    main = io.BytesIO()
    Pickler(main, protocol=2).dump(OD(w=Key(11), half=Key(12), view=Key(13)))
    path = os.path.join(CASES, name + ".tar")
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for member, bytes_ in (("sys_info", dump({"protocol_version": 1000})), ("pickle", main.getvalue()),
                               ("tensors", tensors.getvalue()), ("storages", storages.getvalue())):
            info = tarfile.TarInfo(member)
            info.size = len(bytes_)
            tar.addfile(info, io.BytesIO(bytes_))
    loaded = torch.load(path, weights_only=False)
    assert all(torch.equal(loaded[k], v) for k, v in data.items())
    write_expected(name, data)


def torch_cases():
    case("zip_dtypes", every_dtype())
    case("zip_strides", strided())
    case("zip_conj_neg", parts())
    w = torch.arange(8.0).reshape(2, 4)
    case("zip_tied", OD([("a.weight", w), ("b.weight", w), ("b.row", w[1])]))
    case("zip_nested", {"epoch": 3, "model": {"_orig_mod.w": w, "b": torch.ones(2)}, "optimizer": {"state": {0: {"m": w * 2}}},
                        "list": [w, (w + 1, "text")], "when": None, "size": w.shape})
    case("zip_training", {"epoch": 3, "model_state_dict": OD(w=w), "ema_state_dict": OD(w=w + 1), "lr_scheduler": {"last_epoch": 3},
                          "optimizer_state_dict": {"state": {0: {"m": w * 2}}, "param_groups": [{"lr": 0.1}]}})
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.ModuleDict({"x": torch.nn.Linear(2, 2, bias=False)}))
    case("zip_module", module)
    # Old files carry the path of each class's source: keep this machine's out of the fixture.
    path = case("legacy_module", module, _use_new_zipfile_serialization=False)
    prefix = sys.prefix.encode()
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data.replace(prefix, (b"/usr" + b"_" * len(prefix))[:len(prefix)]))
    case("zip_ema_object", {"ema": module.state_dict(), "args": dict(lr=1e-3)})
    for protocol in (3, 4, 5):
        case(f"zip_protocol{protocol}", OD(w=w, n=[1, 2**70, -1.5, True, b"bytes"]), pickle_protocol=protocol)
    for protocol in (2, 4):
        case(f"legacy_protocol{protocol}", OD(w=w), pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    case("legacy_dtypes", legacy_dtypes(), _use_new_zipfile_serialization=False)
    case("legacy_strides", strided(), _use_new_zipfile_serialization=False)
    case("zip_numpy", {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)).astype(np.float32, order="F"),
                       "big": np.arange(3, dtype=">i4"), "none": np.zeros(0, np.int16), "scalar": np.float64(2.5), "t": w},
         want={"a": np.arange(6, dtype=np.float32).reshape(2, 3), "fortran": np.arange(6, dtype=np.float32).reshape(2, 3),
               "big": np.arange(3, dtype=np.int32), "none": np.zeros(0, np.int16), "t": w})
    q = OD(tensor=torch.quantize_per_tensor(torch.randn(3, 4, generator=torch.Generator().manual_seed(2)), 0.1, 10, torch.quint8),
           channel=torch.quantize_per_channel(torch.randn(3, 4, generator=torch.Generator().manual_seed(3)),
                                              torch.tensor([0.1, 0.2, 0.05]), torch.tensor([0, 3, -2]), 0, torch.qint8),
           axis1=torch.quantize_per_channel(torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(4)),
                                            torch.tensor([0.01, 0.02, 0.03], dtype=torch.float64), torch.tensor([1, 2, 3]), 1, torch.qint32))
    q["float_zero"] = torch.quantize_per_channel(torch.randn(2, 5, generator=torch.Generator().manual_seed(5)),
                                                 torch.tensor([0.013, 0.029]), torch.tensor([1.7, 3.3]), 0, torch.quint8)
    case("zip_quantized", q)
    coo = torch.sparse_coo_tensor([[0, 1, 1, 0], [2, 0, 0, 1]], [3.0, 4.0, 5.0, -1.0], (2, 3))
    hybrid = torch.sparse_coo_tensor([[1, 0]], torch.tensor([[1, 2], [3, 4]], dtype=torch.int64), (3, 2))
    dense = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    case("zip_sparse", OD(coo=coo, hybrid=hybrid, csr=dense.to_sparse_csr(), csc=dense.to_sparse_csc()))
    case("zip_nested_tensor", OD(n=torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(1, 3)])))
    case("zip_parameter", OD(p=torch.nn.Parameter(w), frozen=torch.nn.Parameter(w, requires_grad=False)))
    case("zip_names", OD([("weight é 漢", w), ("a/b", w + 1), ("with space", w + 2)]))
    case("zip_list", [w, w * 2])
    case("zip_tensor", w)

    path = case("zip_deflated", OD(w=w, zeros=torch.zeros(200)))
    repack(path, lambda n, d: d, compression=zipfile.ZIP_DEFLATED)
    path = case("zip_no_byteorder", OD(w=w))
    repack(path, lambda n, d: None if n.endswith(("byteorder", ".format_version", ".storage_alignment", "serialization_id")) else d)
    path = case("zip_big_endian", OD(f=w, d=w.double(), h=w.half(), c=torch.complex(w, -w), i=torch.arange(5)))
    sizes = {"0": 4, "1": 8, "2": 2, "3": 4, "4": 8}

    def swap(name, data):
        if name.endswith("/byteorder"):
            return b"big"
        if "/data/" in name:
            size = sizes[name.rsplit("/", 1)[1]]
            return np.frombuffer(data, f"<u{size}").astype(f">u{size}").tobytes()
        return data

    repack(path, swap)
    path = case("zip_trailing_junk", OD(w=w))
    with open(path, "ab") as f:
        f.write(b"junk after the archive" * 3)
    torch.serialization.set_crc32_options(False)
    case("zip_zero_crc", OD(w=w))
    torch.serialization.set_crc32_options(True)
    for alignment in (4096,):
        from torch.utils.serialization import config
        config.save.storage_alignment = alignment
        case("zip_alignment", OD(w=w, v=w + 1))
        config.save.storage_alignment = 64
    script = torch.jit.script(Net())
    script.save(os.path.join(CASES, "torchscript.pt"))
    write_expected("torchscript", dict(script.state_dict()))
    make_tar("tar")


def mlx_cases():
    a = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "f": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
         "big": np.arange(4, dtype=">f8"), "u": np.array(2**64 - 1, dtype=np.uint64), "empty": np.zeros((0, 2), np.float32)}
    want = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in a.items()}
    np.savez(os.path.join(CASES, "npz.npz"), **a)
    write_expected("npz", want)
    np.savez_compressed(os.path.join(CASES, "npz_compressed.npz"), **a)
    write_expected("npz_compressed", want)
    np.save(os.path.join(CASES, "npy.npy"), a["f"])
    write_expected("npy", {"array": a["f"]})
    mx.savez(os.path.join(CASES, "npz_bfloat16.npz"), w=mx.array([1.5, -2.25]).astype(mx.bfloat16), s=mx.array(3))
    write_expected("npz_bfloat16", {"w": np.array([1.5, -2.25], np.float32), "s": np.array(3, np.int32)})
    state = {k: v for k, v in every_dtype().items() if v.dtype not in (torch.complex128, torch.complex32)
             and "fnuz" not in k and "e8m0" not in k and v.dtype != torch.complex64}
    save_file(state, os.path.join(CASES, "safetensors.safetensors"), metadata={"format": "pt"})
    write_expected("safetensors", state)


def tiny_trm():
    """The state_dict of a TRM for 4x4 Sudoku as torch.compile and the reference leave it, weights random."""
    hidden, cells, prefix, inner = 8, 16, 1, 256
    g = torch.Generator().manual_seed(0)

    def matrix(rows, columns):
        return torch.randn(rows, columns, generator=g) / columns**0.5

    state = OD()
    state["H_init"] = torch.randn(hidden, generator=g).to(torch.bfloat16)
    state["L_init"] = torch.randn(hidden, generator=g).to(torch.bfloat16)
    state["embed_tokens.embedding_weight"] = matrix(6, hidden)
    state["lm_head.weight"] = matrix(6, hidden)
    state["q_head.weight"] = torch.zeros(2, hidden)
    state["q_head.bias"] = torch.full((2,), -5.0)
    state["puzzle_emb.weights"] = torch.zeros(1, hidden)
    state["L_level.layers.0.mlp_t.gate_up_proj.weight"] = matrix(2 * inner, cells + prefix)
    state["L_level.layers.0.mlp_t.down_proj.weight"] = matrix(cells + prefix, inner)
    state["L_level.layers.0.mlp.gate_up_proj.weight"] = matrix(2 * inner, hidden)
    state["L_level.layers.0.mlp.down_proj.weight"] = matrix(hidden, inner)
    folder = os.path.join(HERE, "tiny_trm")
    os.makedirs(folder, exist_ok=True)
    torch.save(OD(("_orig_mod.model.inner." + k, v) for k, v in state.items()), os.path.join(folder, "step_10"))
    with open(os.path.join(folder, "all_config.yaml"), "w") as f:
        f.write("""arch:
  H_cycles: 3
  H_layers: 0
  L_cycles: 6
  L_layers: 1
  expansion: 4
  forward_dtype: bfloat16
  halt_exploration_prob: 0.1
  halt_max_steps: 16
  hidden_size: 8
  loss:
    loss_type: stablemax_cross_entropy
    name: losses@ACTLossHead
  mlp_t: true
  name: recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1
  no_ACT_continue: true
  num_heads: 2
  pos_encodings: none
  puzzle_emb_len: 1
  puzzle_emb_ndim: 8
data_paths: [data/sudoku-4x4]
data_paths_test: []
ema: true
ema_rate: 0.999
epochs: 10
eval_interval: 10
global_batch_size: 16
lr: 0.0001
lr_min_ratio: 1.0
lr_warmup_steps: 2000
beta1: 0.9
beta2: 0.95
weight_decay: 1.0
puzzle_emb_lr: 0.0001
puzzle_emb_weight_decay: 1.0
project_name: sudoku-4x4
run_name: tiny
seed: 0
""")


if __name__ == "__main__":
    os.makedirs(CASES, exist_ok=True)
    torch.manual_seed(0)
    torch_cases()
    mlx_cases()
    tiny_trm()
    total = sum(os.path.getsize(os.path.join(d, f)) for d, _, names in os.walk(HERE) for f in names)
    print(f"{total} bytes of fixtures")

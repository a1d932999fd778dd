"""Checkpoints and other archives: pickles that run code, zips and headers that lie."""

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from hostile.inputs import mutate
from hostile.worker import CANARY


class Runs:
    """What a pickle executes when it is read."""

    def __init__(self, module: str, name: str, *arguments: object) -> None:
        self.call = module, name, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        module, name, arguments = self.call
        return getattr(__import__(module, fromlist=["_"]), name), arguments


def evil(draw: random.Random) -> Runs:
    """Something that leaves a canary."""
    return draw.choice((
        Runs("os", "system", f"touch {CANARY}"), Runs("builtins", "open", CANARY, "w"),
        Runs("builtins", "exec", f"open({CANARY!r}, 'w')"),
        Runs("builtins", "eval", f"open({CANARY!r}, 'w')"), Runs("subprocess", "call", ["touch", CANARY]),
        Runs("numpy", "save", CANARY, [1]),
        Runs("torch", "save", [1], CANARY),
    ))  # fmt: skip


def _state(draw: random.Random) -> dict[str, torch.Tensor]:
    shapes = ((3, 3), (1,), (), (0,), (2, 3, 4))
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool)
    return {
        f"layer{i}.weight": torch.zeros(draw.choice(shapes), dtype=draw.choice(kinds))
        for i in range(draw.randint(0, 4))
    }


def pth(draw: random.Random) -> bytes:
    """A checkpoint as torch writes it, wrapped as people wrap them, of the new or the old kind."""
    state: Any = _state(draw)
    wrapped = draw.choice((
        lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": 3},
        lambda s: {"model_state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {"state_dict": {f"_orig_mod.{k}": v for k, v in s.items()}}, lambda s: {"ema": s}, lambda s: [s],
        lambda s: dict(enumerate(s.values())),
        lambda s: {"state_dict": {"state_dict": s}}, lambda s: {**s, "extra": "text"},
        lambda s: {**s, ("a", 1): torch.zeros(1)}, lambda s: None,
        lambda s: {**s, "a.weight": s.get("layer0.weight")}, lambda s: torch.zeros(3),
        lambda s: {"state_dict": {"module.a": torch.zeros(1), "a": torch.ones(1)}},
    ))  # fmt: skip
    out = io.BytesIO()
    torch.save(wrapped(state), out, _use_new_zipfile_serialization=draw.random() < 0.7)
    return out.getvalue()


def pth_evil(draw: random.Random) -> bytes:
    """A checkpoint whose pickle runs code: in a zip, bare, or in one of the old kind's parts."""
    content = draw.choice(
        (evil(draw), {"state_dict": evil(draw)}, {"a": torch.zeros(1), "b": evil(draw)}, [evil(draw)])
    )
    if draw.random() < 0.4:
        return pickle.dumps(content, protocol=draw.choice((0, 2, 4)))
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=draw.random() < 0.6)
    return out.getvalue()


def pth_gadgets(draw: random.Random) -> bytes:
    """Pickles that call what torch allows, with arguments that it does not expect."""
    name = draw.choice((
        "torch._utils\n_rebuild_tensor_v2", "torch._utils\n_rebuild_parameter", "torch\nFloatStorage",
        "collections\nOrderedDict", "torch\ndevice",
        "torch._utils\n_rebuild_sparse_tensor", "torch\nSize", "_codecs\nencode", "builtins\ngetattr",
        "numpy._core.multiarray\nscalar", "torch\nload", "os\nsystem",
    ))  # fmt: skip
    arguments = draw.choice(
        (
            b"(t",
            b"(I1\nI2\nt",
            b"(S'touch canary'\nt",
            b"((lp0\nt",
            b"(N(t(t(tI01\n(dt",
            b"(I99999999999\nt",
            b"(N" * 50 + b"t" * 50,
        )
    )
    bare = b"\x80\x02c" + name.encode() + b"\n" + arguments + b"R."
    if draw.random() < 0.3:
        return bare
    return _zip(
        draw,
        {
            "archive/data.pkl": bare,
            "archive/version": b"3\n",
            "archive/byteorder": b"little",
            "archive/data/0": bytes(64),
        },
    )


def _zip(draw: random.Random, files: dict[str, bytes]) -> bytes:
    """A zip, perhaps with something odd about it."""
    out, kind = io.BytesIO(), draw.randrange(8)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if kind == 1 else zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(f"../../{name}" if kind == 2 else f"/{name}" if kind == 3 else name, data)
        if kind == 4:
            archive.writestr(next(iter(files)) + "x", b"x")
    data = bytearray(out.getvalue())
    if kind == 5:  # says it is encrypted
        data[6] |= 1
    if kind == 6:  # says that it unpacks to much
        place = data.rfind(b"PK\1\2")
        struct.pack_into("<I", data, place + 24, 0xFFFFFFF0)
    if kind == 7:
        struct.pack_into("<I", data, len(data) - 6, draw.getrandbits(32))
    return bytes(data)


def safetensors(draw: random.Random) -> bytes:
    """A safetensors file; its header says what it should not."""
    data = save({f"layer{i}": np.zeros((2, 3), np.float32) for i in range(draw.randint(1, 3))})
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + size])
    entry = header[draw.choice(list(header))]
    kind = draw.randrange(10)
    if kind == 0:
        return struct.pack("<Q", draw.choice((0, 1, 1 << 20, 1 << 27, 1 << 40, (1 << 64) - 1))) + data[8:]
    if kind == 1:
        entry["dtype"] = draw.choice(("F64", "I8", "F8_E4M3", "X", "", 3, None, "F4"))
    elif kind == 2:
        entry["shape"] = draw.choice(([-1], [1 << 40], [0], [2, 3, 1 << 62], [1.5], "x", [], [1] * 1000))
    elif kind == 3:
        entry["data_offsets"] = draw.choice(([0, 1 << 40], [24, 0], [-1, 24], [0], [0, 24, 48], None, [0, 12]))
    elif kind == 4:
        header["__metadata__"] = draw.choice(
            ({"a": 1}, [], "x", {"fiqa_card": "{"}, {"fiqa_card": '{"name": 1}'}, {"fiqa_card": "[" * 100_000})
        )
    elif kind == 5:
        text = b'{"a":' * draw.choice((100, 100_000))
        return struct.pack("<Q", len(text)) + text
    elif kind == 6:
        header = {f"x{i}": entry for i in range(draw.choice((2, 20_000)))}
    text = json.dumps(header).encode()
    text = text + b" " * draw.choice((0, 0, 1, 1 << 20))
    body = data[8 + size :]
    return (
        struct.pack("<Q", len(text))
        + text
        + (body if kind != 7 else body[:-1] if draw.random() < 0.5 else body + bytes(100))
    )


def npy(array: Any, header: str | None = None, version: tuple[int, int] = (1, 0)) -> bytes:
    """A `.npy`, perhaps with a header of one's own."""
    if header is None:
        out = io.BytesIO()
        np.save(out, array, allow_pickle=True)
        return out.getvalue()
    text = header.encode("latin-1", "replace") + b"\n"
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text) & (0xFFFF if version[0] == 1 else 0xFFFFFFFF))
    return b"\x93NUMPY" + bytes(version) + length + text + np.asarray(array).tobytes()


def odd_npy(draw: random.Random, array: Any) -> bytes:
    """A `.npy` that is too long, too short, of another type or shape, that holds a pickle, or whose header is code."""
    if draw.random() < 0.3:
        return mutate(draw, npy(array))[0]
    headers = (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 512), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }",
        "{'descr': [('a', '<f4')], 'fortran_order': True, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (), }",
        "{'descr': '<U1000000', 'fortran_order': False, 'shape': (9,), }", "[1, 2", "{" * 3000,
        "{'descr': __import__('os').system('touch canary'), 'fortran_order': False, 'shape': (1,), }", "9**9**9",
        "{'descr': '<f4'}", "-" * 9000 + "1",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 4), }",
        "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (2, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387905, 4), }",
    )  # fmt: skip
    return draw.choice((
        lambda: npy(array, draw.choice(headers), draw.choice(((1, 0), (2, 0), (3, 0), (9, 9)))),
        lambda: npy(np.array([evil(draw)], object)),
        lambda: npy(np.full_like(array, np.nan) if array.dtype.kind == "f" else array),
        lambda: npy(array.astype(draw.choice(("<f2", ">f8", "<i4", "?", "<c8")),
            copy=True) if array.dtype.kind != "U" else array),
        lambda: npy(array.reshape(-1)), lambda: npy(np.zeros((0, *array.shape[1:]), array.dtype)),
        lambda: npy(array) + bytes(100), lambda: pickle.dumps(evil(draw)), lambda: b"",
    ))()  # fmt: skip


def odd_npz(draw: random.Random, arrays: dict[str, Any]) -> bytes:
    """An `.npz` of which an array, or the zip, is wrong."""
    members = {f"{name}.npy": npy(array) for name, array in arrays.items()}
    name = draw.choice(list(arrays))
    kind = draw.randrange(6)
    if kind < 3:
        members[f"{name}.npy"] = odd_npy(draw, arrays[name])
    elif kind == 3:
        del members[f"{name}.npy"]
    elif kind == 4:
        shape = "(8000, 112, 112, 3)" if name == "faces" else "(400000000,)"
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
        members[f"{name}.npy"] = npy([], header) + bytes(250 << 20)
        out = io.BytesIO()
        with zipfile.ZipFile(
            out, "w", draw.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)), compresslevel=1
        ) as archive:
            for member, data in members.items():
                archive.writestr(member, data)
        return out.getvalue()
    data = _zip(draw, members)
    return mutate(draw, data)[0] if draw.random() < 0.4 else data


CHECKPOINTS: dict[str, Callable[[random.Random], bytes]] = {
    "pth": pth, "pth-evil": pth_evil, "pth-gadgets": pth_gadgets, "safetensors": safetensors,
}  # fmt: skip
"""By name."""

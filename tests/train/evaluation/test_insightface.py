"""Insightface's `.bin`: read, unpacked, and refused where it is more than data."""

import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from sdk.errors import InputError
from tests.support.weights import tame_network
from train.cli import app
from train.data.manifest import read_manifest, read_table
from train.data.pickles import unpickling
from train.evaluation.insightface import read_bin, unpack_bin
from train.evaluation.pairs import read_pairs
from train.networks import save_network


def jpeg(seed: int, size: int = 112) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


A, B, C, D = (jpeg(seed) for seed in range(4))
IMAGES = [A, B, B, C, A, D]
"""A and B are one person, B and C too, A and D are two."""


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "content",
    [
        (IMAGES, [True, True, False]),
        (IMAGES, np.array([True, True, False])),
        (IMAGES, list(np.array([True, True, False]))),
        ([np.frombuffer(image, np.uint8) for image in IMAGES], [True, True, False]),
        [tuple(IMAGES), (True, True, False)],
    ],
    ids=["lists", "array", "numpy booleans", "arrays of bytes", "tuples"],
)
def test_every_way_to_write_one_is_read(content: Any, protocol: int, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(pickle.dumps(content, protocol=protocol))
    images, mated = read_bin(tmp_path / "x.bin")
    assert images == IMAGES
    assert mated.tolist() == [True, True, False]


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    parts = [b"(", *(b"T" + len(image).to_bytes(4, "little") + image for image in (A, B)), b"l(I01\nlt."]
    (tmp_path / "x.bin").write_bytes(b"(" + b"".join(parts))
    images, mated = read_bin(tmp_path / "x.bin")
    assert images == [A, B]
    assert mated.tolist() == [True]


def test_unpacked_it_is_a_manifest_and_a_list_of_pairs(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(pickle.dumps((IMAGES, [True, True, False])))
    folder = unpack_bin(tmp_path / "x.bin", tmp_path / "out")
    manifest = read_manifest(folder / "manifest.csv")
    assert len(manifest) == 4  # each image once
    assert (folder / manifest.paths[2]).read_bytes() == C
    people = manifest.identities
    assert people[0] == people[1] == people[2] != people[3]  # by its mated pairs
    pairs = read_pairs(folder / "pairs.csv", manifest)
    assert (pairs.mated.tolist(), pairs.non_mated.tolist()) == ([[0, 1], [1, 2]], [[0, 3]])
    assert read_table(folder / "pairs.csv").num_rows == 3
    assert unpack_bin(tmp_path / "x.bin", tmp_path / "out") == folder
    assert not list((tmp_path / "out").glob("*.tmp"))


class Evil:
    """What a pickle may hold and this reader must not run."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.how = (call, arguments)

    def __reduce__(self) -> Any:
        return self.how


def test_code_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for evil in (Evil(os.mkdir, str(mark)), Evil(eval, "1"), Evil(np.load, "x"), Evil(bytes, 10**15)):
        (tmp_path / "x.bin").write_bytes(pickle.dumps(([A, evil], [True])))
        with pytest.raises(InputError, match="which is refused"):
            read_bin(tmp_path / "x.bin")
    assert not mark.exists()


def dumped(content: Any) -> bytes:
    return pickle.dumps(content)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dumped((IMAGES, [True] * 3))[:-2000], "truncated"),
        (b"", "truncated"),
        (b"text that is no pickle", "truncated or not"),
        (dumped((IMAGES, [True] * 2)), "6 images and 2 pairs"),
        (dumped(([], [])), "0 images and 0 pairs"),
        (dumped((["a", "b"], [True])), "holds a str"),
        (dumped(([A, np.zeros(3)], [True])), "array of <f8 as image 1, wanted bytes or booleans"),
        (dumped(([A, jpeg(9, 100)], [True])), "image 1 of .* is 100 x 100"),
        (dumped(([A, B[:300]], [True])), "image 1 of .*truncated"),
    ],
)
def test_damaged_files(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(data)
    with pytest.raises(InputError, match=message):
        unpack_bin(tmp_path / "x.bin", tmp_path)
    assert not (tmp_path / "manifest.csv").exists()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file at"):
        unpack_bin(tmp_path / "x.bin", tmp_path)


def room_for(index: int) -> bytes:
    """A pickle that says that so many values are to be remembered."""
    return b"\x80\x04Nr" + index.to_bytes(4, "little") + b"."


@pytest.mark.parametrize(
    "data",
    [
        room_for(2**32 - 1), b"\x80\x04\x95" + b"\xff" * 8 + b"N.", b"\x80\x04\x8e" + b"\xff" * 7 + b"\x0fx.",
        b"\x80\x04\x8d" + b"\x00" * 7 + b"\x10x.", b"N2" * 100 + b".", b"(" * 100_000 + b"N" + b"t" * 100_000 + b".",
        b"]" * 10 + b"a" * 20 + b".", b"h\x07.", b"}.", b"c__builtin__\neval\n.", b"NR.", b"]]\x94b.",
        b"I" + b"9" * 9000 + b"\n.",
        b"\x8a\xff" + b"\x01" * 255 + b".", b"\x80\x04X\x01\x00\x00\x00\xff.", b"e.", b".", b"u." , b"\x88\x88\x86.",
        # Bytes that are encoded again and again from one text of the file.
        b"(c_codecs\nencode\nq\x00X\x00\x04\x00\x00" + b"x" * 1024 + b"X\x06\x00\x00\x00latin1\x86q\x01R"
        + b"h\x00h\x01R" * 99 + b"l.",
    ],
)  # fmt: skip
def test_programs_that_want_more_than_there_is(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"x\.bin"):
            unpack_bin(tmp_path / "x.bin", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


def test_a_pickle_of_too_many_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickling, "MOST_STEPS", 10)
    with pytest.raises(InputError, match="more than 10 instructions"):
        unpickling.read_pickle(b"]" * 50 + b".")


def test_evaluate_takes_one_with_an_fr_model_and_a_quality_model(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(pickle.dumps((IMAGES, [True, True, False])))
    save_network(tame_network("mobilefacenet128"), tmp_path / "w.safetensors")
    options = ["--models", "fiqa-nano", "--model", "mobilefacenet128", "--weights", str(tmp_path / "w.safetensors")]
    options += ["--fmr", "0.9999", "--bootstrap", "10", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "x.bin"), *options])
    assert result.exit_code == 2  # one non-mated comparison shows no FMR below 1
    assert "1 non-mated comparisons cannot show" in " ".join(result.output.split())
    (tmp_path / "x.bin").write_bytes(pickle.dumps(([*IMAGES, B, D], [True, True, False, False])))
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "x.bin"), *options])
    assert result.exit_code == 0, result.output
    row = read_table(tmp_path / "out/table.csv").to_pylist()[0]
    assert (row["judge"], row["comparisons"], row["images"]) == ("mobilefacenet128", "pairs.csv", 4)
    assert (row["mated"], row["non_mated"], row["method"]) == (2, 2, "fiqa-nano")
    assert np.load(tmp_path / "out/embeddings.npy").shape == (4, 128)

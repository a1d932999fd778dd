"""Insightface's `.bin`: read, unpacked, and refused where it is more than data."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from sdk.errors import InputError
from tests.weights import tame_network
from train.cli import app
from train.data.manifest import read_manifest, read_table
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
        (dumped(([A, np.zeros(3)], [True])), "'f8', wanted bytes or booleans"),
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


def test_evaluate_takes_one_with_models_that_judge_and_score(tmp_path: Path) -> None:
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

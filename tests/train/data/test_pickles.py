"""Pickles of the published repositories: read as they are written there, without running anything, and written."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sdk.errors import InputError
from train.cli import app
from train.data.embeddings import open_embeddings
from train.data.labelled import read_labelled
from train.data.manifest import make_manifest, read_manifest, read_table
from train.data.pickles.published import read_clusters, read_landmarks, read_scores, read_vectors, write_scores
from train.data.pickles.unpickling import Array, read_pickle
from train.data.sources.landmarks import with_landmarks
from train.fitting import fit_regressor

NAMES = ["train/n1/1.jpg", "train/n1/2.jpg", "train/n2/1.jpg"]
SCORES = [0.25, 0.5, 0.125]
EMBEDDINGS = np.arange(12, dtype=np.float32).reshape(3, 4)
POINTS = np.arange(30, dtype=np.float64).reshape(3, 5, 2)


def dumped(content: Any, path: Path, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ({"a": 1, "b": [2.5, None, True]}, {"a": 1, "b": [2.5, None, True]}),
        (OrderedDict(x=1, y=-(1 << 40)), {"x": 1, "y": -(1 << 40)}),
        ({1: {"a", "b"}, 2: frozenset({3})}, {1: {"a", "b"}, 2: {3}}),
        ([np.float32(0.5), np.int64(7), np.bool_(True), np.str_("é1")], [0.5, 7, True, "é1"]),
        ([np.array(2.5, ">f8").reshape(1)[0]], [2.5]),
        ([PurePosixPath("a/b.jpg"), PureWindowsPath("a\\b.jpg")], ["a/b.jpg", "a/b.jpg"]),
        (("tuple", (1, (2,)), b"bytes"), ("tuple", (1, (2,)), b"bytes")),
    ],
    ids=["dict", "ordered", "sets", "scalars", "big-endian", "paths", "tuples"],
)  # fmt: skip
def test_plain_values_come_back(content: Any, wanted: Any, protocol: int) -> None:
    assert read_pickle(pickle.dumps(content, protocol=protocol)) == wanted


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        EMBEDDINGS,
        np.asfortranarray(EMBEDDINGS),
        EMBEDDINGS.astype(">f8"),
        EMBEDDINGS.astype(np.int16)[:, ::2],
        np.array(3, "u4"),
        EMBEDDINGS > 5,
    ],
    ids=["rows", "columns", "big-endian", "strides", "one number", "booleans"],
)
def test_arrays_come_back(array: np.ndarray[Any, Any], protocol: int) -> None:
    found = read_pickle(pickle.dumps([array], protocol=protocol))[0]
    assert isinstance(found, Array)
    np.testing.assert_array_equal(found.values(), array)


class Evil:
    """What a pickle may hold and nobody must run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize("read", [read_scores, read_vectors, read_landmarks, read_clusters])
def test_a_foreign_class_is_named_and_not_run(read: Any, tmp_path: Path) -> None:
    dumped({"a.jpg": Evil(tmp_path / "mark")}, tmp_path / "x.pkl")
    with pytest.raises(InputError, match=r"x\.pkl: the pickle asks for (posix|nt)\.mkdir, which is refused"):
        read(tmp_path / "x.pkl")
    dumped({"a.jpg": torch.zeros(2)}, tmp_path / "x.pkl")
    with pytest.raises(InputError, match=r"asks for torch\._utils\._rebuild_tensor_v2, which is refused"):
        read(tmp_path / "x.pkl")
    assert not (tmp_path / "mark").exists()


def test_a_set_that_is_made_again_and_again_is_refused() -> None:
    once = b"c__builtin__\nset\nq\x00(" + b"K\x01" * 1000 + b"lq\x01"
    again = b"h\x00h\x01\x85R" * 1000
    with pytest.raises(InputError, match="more bytes than it has"):
        read_pickle(b"(" + once + again + b"l.")


def test_a_deep_tuple_is_no_key() -> None:
    with pytest.raises(InputError, match="a tuple as a key"):
        read_pickle(b"}" + b")" + b"\x85" * 200_000 + b"K\x01s.")


@pytest.mark.parametrize("value", [float, np.float32, lambda score: np.array([score], np.float32)])
def test_scores_are_a_manifest(value: Any, tmp_path: Path) -> None:
    content = {name: value(score) for name, score in zip(NAMES, SCORES, strict=True)}
    for written in (content, list(content.items())):
        manifest = read_manifest(dumped(written, tmp_path / "scores.pkl"))
        assert (manifest.paths, manifest.numbers("quality").tolist()) == (NAMES, SCORES)
        assert manifest.identities == ["train~n1", "train~n1", "train~n2"]
        assert manifest.root == tmp_path


def test_training_items_have_classes(tmp_path: Path) -> None:
    items = [(name, np.float32(score), code) for name, score, code in zip(NAMES, SCORES, (4, 4, 7), strict=True)]
    manifest = read_manifest(dumped(items, tmp_path / "training_items.pkl"))
    assert (manifest.paths, manifest.identities) == (NAMES, ["4", "4", "7"])
    assert manifest.numbers("quality").tolist() == SCORES


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_scores, {}, "an empty dict, wanted scores"),
        (read_scores, 7, r"\(int\), wanted scores"),
        (read_scores, ["a.jpg"], r"\(str\), wanted \(path, score\)"),
        (read_scores, {"a.jpg": "good"}, r"has no number for 'a.jpg' \(str\)"),
        (read_scores, {"a.jpg": np.zeros(2)}, r"has no number for 'a.jpg' \(Array\)"),
        (read_scores, {3: 0.5}, "has 3 as an image"),
        (read_scores, [("a.jpg", 1.0), ("a.jpg", 2.0)], "names an image twice"),
        (read_scores, [("a.jpg", 1.0, 1), ("b.jpg", 2.0)], "a class for 1 of 2 images"),
        (read_vectors, {"a": np.zeros(3), "b": np.zeros(4)}, "4 numbers for 'b' and 3 for 'a'.*of one model"),
        (read_vectors, [1, 2], r"\(list\), wanted embeddings"),
        (read_vectors, {"a": {}}, "no array of numbers for 'a'"),
        (read_landmarks, {"a": np.zeros((4, 2))}, "8 numbers for 'a', wanted landmarks"),
        (read_clusters, {"n1": ["a.jpg"]}, r"\(list\), wanted {cluster"),
        (read_clusters, {"n1": {0: "a.jpg"}}, r"\(str\), wanted a list of paths"),
        (read_clusters, {"n1": {0: ["a.jpg"], 1: ["a.jpg"]}}, "'a.jpg' in two clusters"),
    ],
)  # fmt: skip
def test_other_content_is_named(read: Any, content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(dumped(content, tmp_path / "x.pkl"))


def test_embeddings_are_found_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "vggface2"
    manifest = make_manifest([{"path": name} for name in (NAMES[2], "other.jpg", NAMES[0])], folder)
    for prefix in ("", "vggface2/", f"{folder}/"):
        content = {prefix + name: vector for name, vector in zip(NAMES, EMBEDDINGS, strict=True)}
        found = open_embeddings(dumped(content, tmp_path / "e.pkl"), manifest, tmp_path)
        np.testing.assert_array_equal(found, [EMBEDDINGS[2], np.full(4, np.nan), EMBEDDINGS[0]])
    np.savez(tmp_path / "e.npz", names=NAMES, embeddings=EMBEDDINGS)
    np.testing.assert_array_equal(open_embeddings(tmp_path / "e.npz", manifest, tmp_path), found)
    with pytest.raises(InputError, match=r"embeddings of none of the images, first 'train/n2/1.jpg'; .* 'x.jpg'"):
        open_embeddings(dumped({"x.jpg": EMBEDDINGS[0]}, tmp_path / "e.pkl"), manifest, tmp_path)


@pytest.mark.parametrize("boxed", [False, True])
def test_landmarks_as_ai_kd_has_them(boxed: bool, tmp_path: Path) -> None:
    content = {n: ([0, 0, 9, 9], points) if boxed else points for n, points in zip(NAMES, POINTS, strict=True)}
    manifest = make_manifest([{"path": name} for name in NAMES[1:]], tmp_path)
    found = with_landmarks(manifest, dumped(content, tmp_path / "landmarks.pkl"))
    np.testing.assert_array_equal(found.landmarks(1), POINTS[2])


def test_clusters_have_numbers_of_their_own(tmp_path: Path) -> None:
    content = {"n1": {np.int32(1): NAMES[:1], np.int32(0): NAMES[1:2]}, "n2": {np.int32(0): NAMES[2:]}}
    assert read_clusters(dumped(content, tmp_path / "c.pkl")) == {NAMES[0]: 0, NAMES[1]: 1, NAMES[2]: 2}


def test_written_scores_are_a_plain_dict(tmp_path: Path) -> None:
    write_scores(tmp_path / "x.pkl", NAMES, [0.25, None, 0.125])
    assert pickle.loads((tmp_path / "x.pkl").read_bytes()) == {NAMES[0]: 0.25, NAMES[2]: 0.125}


def test_labels_of_a_list_as_a_pickle(tmp_path: Path) -> None:
    """A list of images in, `{path: score}` out, and that in again: by the command."""
    for name in ("ann/1.png", "ann/2.png", "bob/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        face = np.random.default_rng(len(name)).integers(0, 256, (112, 112, 3), np.uint8)
        cv2.imwrite(str(tmp_path / name), face)
    (tmp_path / "list.txt").write_text("ann/1.png\n\n  bob/1.png\r\n", encoding="utf-8")
    (tmp_path / "ann/2.png").write_bytes(b"no image")
    out = tmp_path / "elsewhere/labels.pkl"
    result = CliRunner().invoke(app, ["label", "sharpness", str(tmp_path / "list.txt"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    found = pickle.loads(out.read_bytes())
    assert list(found) == ["ann/1.png", "bob/1.png"]
    result = CliRunner().invoke(app, ["label", "sharpness", str(tmp_path), "--out", str(tmp_path / "all.csv")])
    assert result.exit_code == 3  # ann/2.png cannot be read
    table = {row["path"]: row["sharpness"] for row in read_table(tmp_path / "all.csv").to_pylist()}
    assert found == pytest.approx({name: table[name] for name in found})
    result = CliRunner().invoke(app, ["label", "sharpness", str(tmp_path), "--out", str(tmp_path / "all.pkl")])
    assert list(pickle.loads((tmp_path / "all.pkl").read_bytes())) == ["ann/1.png", "bob/1.png"]
    assert read_manifest(tmp_path / "all.pkl").numbers("quality").tolist() == pytest.approx(list(found.values()))


def test_a_list_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no rows"):
        read_manifest(tmp_path / "list.txt")


def test_training_takes_embeddings_by_name(tmp_path: Path) -> None:
    """A run with embeddings by name has the record of one with the same embeddings by row."""
    dumped(dict(zip(NAMES, SCORES, strict=True)), tmp_path / "scores.pkl")
    np.save(tmp_path / "e.npy", EMBEDDINGS)
    dumped(dict(zip(NAMES[::-1], EMBEDDINGS[::-1], strict=True)), tmp_path / "e.pkl")
    blocks = []
    for name in ("e.npy", "e.pkl"):
        data = read_labelled(tmp_path / "scores.pkl", "quality", tmp_path / name)
        np.testing.assert_array_equal(data.embeddings, EMBEDDINGS)
        blocks.append(list(fit_regressor._blocks(tmp_path / name, data)))
    assert blocks[0] == blocks[1]

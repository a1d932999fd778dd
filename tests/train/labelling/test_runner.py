"""Labelling a manifest: rows, errors, resuming, and many callers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sdk.errors import InputError
from tests.support.labellers import Brightness, expected
from tests.support.tiny_networks import TinyBackbone
from train.data.manifest import read_manifest, read_table
from train.labelling.executors import Threads
from train.labelling.journal import Journal
from train.labelling.runner import add_column, label_manifest
from train.methods.baselines import Sharpness
from train.methods.faceqan import FaceQANLabeller, FaceQANSettings
from train.networks.recognition import RecognitionModel


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("callers", [1, 3])
def test_every_row_gets_its_label(crops: Path, tmp_path: Path, suffix: str, callers: int) -> None:
    manifest = read_manifest(crops)
    out = tmp_path / f"labels{suffix}"
    label_manifest(manifest, Brightness(), out, {}, 5, tmp_path / "e.npy", Threads(callers))
    table = read_table(out)
    assert table["path"].to_pylist() == [f"crops/{path}" for path in manifest.paths]
    assert table["identity"].to_pylist() == manifest.identities
    np.testing.assert_allclose(table["brightness"].to_pylist(), expected(manifest))
    np.testing.assert_allclose(np.load(tmp_path / "e.npy")[:, 1], [-value for value in expected(manifest)], rtol=1e-6)
    assert list(tmp_path.glob("*.journal")) == list(tmp_path.glob("*.tmp")) == []


def test_a_run_that_was_killed_between_two_columns_goes_on(
    crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first column is written, its journal is still there."""
    table, journal = tmp_path / "labels.parquet", tmp_path / "labels.parquet.journal"
    label_manifest(read_manifest(crops), Brightness(), table, {}, 5)

    def killed(_: Journal) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            add_column(table, Sharpness())
    assert journal.exists()
    before = read_table(table)["sharpness"].to_pylist()
    add_column(table, Sharpness())
    assert not journal.exists()
    another = Brightness(fail_after=6)
    another.name = "brightness again"
    with pytest.raises(KeyboardInterrupt):
        add_column(table, another, 3)
    add_column(table, Sharpness())  # keeps another column's journal
    assert journal.exists()
    another.fail_after = None
    add_column(table, another, 3)
    after = read_table(table)
    assert after["sharpness"].to_pylist() == before
    np.testing.assert_allclose(after["brightness again"].to_pylist(), after["brightness"].to_pylist())
    assert list(tmp_path.glob("*.journal")) == []


def test_unreadable_images_become_rows(crops: Path, tmp_path: Path) -> None:
    (crops / "person0" / "0.png").write_bytes(b"text")
    (crops / "person1" / "3.png").write_bytes((crops / "person2" / "6.png").read_bytes()[:2000])
    table = label_manifest(read_manifest(crops), Brightness(), tmp_path / "l.csv", {}, 4, tmp_path / "e.npy")
    labels = dict(zip(table["source"].to_pylist(), table["brightness"].to_pylist(), strict=True))
    reasons = dict(zip(table["source"].to_pylist(), table["error"].to_pylist(), strict=True))
    errors = {path: error for path, error in reasons.items() if error}
    assert set(errors) == {"person0/0.png", "person1/3.png"} == {path for path in labels if labels[path] is None}
    assert "0.png" in errors["person0/0.png"]
    assert np.isnan(np.load(tmp_path / "e.npy")).any(axis=1).sum() == 2


def test_photos_that_are_no_crops_are_said_once(crops: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("person1/3", "person1/5", "person2/6"):
        cv2.imwrite(str(crops / f"{name}.png"), np.zeros((60, 50, 3), np.uint8))
    (crops / "person1/4.png").write_bytes(b"text")
    table = label_manifest(read_manifest(crops), Brightness(), tmp_path / "l.csv", {}, 2)
    assert sum(bool(error) for error in table["error"].to_pylist()) == 4
    broken, small = (record.getMessage() for record in caplog.records)
    assert "4.png" in broken
    assert small.startswith(f"3 of 12 images are no crops; the first one: {crops / 'person1/3.png'} is 50 x 60 and has")
    assert "`fiqa-train prepare` makes crops of photos, and with --aligned of aligned faces of any size" in small


def test_interrupted_and_started_again_it_continues(crops: Path, tmp_path: Path) -> None:
    manifest, out = read_manifest(crops), tmp_path / "labels.csv"
    first = Brightness(fail_after=6)
    with pytest.raises(KeyboardInterrupt):
        label_manifest(manifest, first, out, {"k": 1}, 3, tmp_path / "e.npy")
    assert not out.exists()
    journal = tmp_path / "labels.csv.journal"
    done = len(journal.read_text().splitlines()) - 1
    assert 3 <= done <= 6
    with journal.open("a") as file:
        file.write('{"row": 11, "pa')  # a line that was being written when the machine went down
    second = Brightness()
    label_manifest(manifest, second, out, {"k": 1}, 3, tmp_path / "e.npy")
    assert len(second.seen) == 12 - done
    np.testing.assert_allclose(read_table(out)["brightness"].to_pylist(), expected(manifest))
    assert not np.isnan(np.load(tmp_path / "e.npy")).any()


def test_other_settings_do_not_continue(crops: Path, tmp_path: Path) -> None:
    manifest, out = read_manifest(crops), tmp_path / "labels.csv"
    with pytest.raises(KeyboardInterrupt):
        label_manifest(manifest, Brightness(fail_after=6), out, {"k": 1}, 3)
    with pytest.raises(InputError, match="k=1, this one has k=2"):
        label_manifest(manifest, Brightness(), out, {"k": 2}, 3)
    assert json.loads((tmp_path / "labels.csv.journal").read_text().splitlines()[0])["k"] == 1


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_one_method_after_another_keeps_a_column_each(crops: Path, suffix: str) -> None:
    (crops / "person0" / "0.png").write_bytes(b"text")
    labelled = crops / f"labels{suffix}"
    torch.manual_seed(0)
    model = RecognitionModel(TinyBackbone(), (0.5,) * 3, (0.5,) * 3).eval().requires_grad_(False)
    faceqan = FaceQANLabeller(model, FaceQANSettings(copies=1, iterations=1))
    first = label_manifest(read_manifest(crops), faceqan, labelled, {})
    second = label_manifest(read_manifest(labelled), Sharpness(), labelled, {})
    table = read_table(labelled)
    assert table.column_names == ["path", "identity", "faceqan", "sharpness", "error"]
    assert table["faceqan"].to_pylist() == first["faceqan"].to_pylist()
    assert table["sharpness"].to_pylist() == second["sharpness"].to_pylist()
    assert [bool(error) for error in table["error"].to_pylist()] == [True] + [False] * 11
    label_manifest(read_manifest(labelled), faceqan, labelled, {})
    again = read_table(labelled)
    assert again.column_names == ["path", "identity", "sharpness", "faceqan", "error"]
    assert again["sharpness"].to_pylist() == second["sharpness"].to_pylist()


@pytest.mark.parametrize("name", ["labels.txt", "labels"])
def test_output_is_checked_before_the_work(crops: Path, tmp_path: Path, name: str) -> None:
    labeller = Brightness()
    with pytest.raises(InputError, match=r"wanted .csv or .parquet"):
        label_manifest(read_manifest(crops), labeller, tmp_path / name, {})
    assert labeller.seen == []


def test_embeddings_of_another_size_are_refused(crops: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(InputError, match=r"\(3, 2\), wanted float32 \(12, 2\)"):
        label_manifest(read_manifest(crops), Brightness(), tmp_path / "l.csv", {}, 4, tmp_path / "e.npy")


class Broken:
    """A network that gives no numbers for some faces."""

    name = "quality"

    def __init__(self, value: float, vector: float) -> None:
        self.value, self.vector = value, vector

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        values, vectors = np.full(len(faces), 0.5), np.ones((len(faces), 2), np.float32)
        if keys[0].endswith("/0.png"):
            values[0], vectors[0, 1] = self.value, self.vector
        return {"quality": values, "embedding": vectors}


@pytest.mark.parametrize(("value", "vector"), [(np.nan, 1), (np.inf, 1), (0.5, np.nan), (0.5, -np.inf)])
def test_nan_and_infinity_are_error_rows(crops: Path, tmp_path: Path, value: float, vector: float) -> None:
    vectors = tmp_path / "e.npy"
    table = label_manifest(read_manifest(crops), Broken(value, vector), tmp_path / "l.csv", {}, 4, vectors)
    rows = table.to_pylist()
    assert [row["quality"] for row in rows] == [None, *[0.5] * 11]
    assert "0.png: the network gave NaN or infinity" in rows[0]["error"]
    assert not any(row["error"] for row in rows[1:])
    np.testing.assert_array_equal(np.load(vectors)[:, 0], [np.nan, *[1] * 11])


@pytest.mark.parametrize(
    "line",
    [
        '{"row": 99, "path": "person0/0.png", "value": 1}', '{"row": -1, "path": "x", "value": 1}', "[1]", '"x"', "{",
        '{"row": 0, "path": "person0/0.png", "value": "high"}', '{"row": 0, "path": "person0/0.png", "value": NaN}',
        '{"row": 0, "path": "person0/0.png"}', '{"row": true, "path": ["x"], "error": 5}', "[" * 5000, "\x00",
        f'{{"row": 0, "path": "person0/0.png", "value": -{"9" * 350}}}',
    ],
)  # fmt: skip
def test_damaged_journals(crops: Path, tmp_path: Path, line: str) -> None:
    out = tmp_path / "l.csv"
    journal = Path(f"{out}.journal")
    with Journal(journal, {"labeller": "quality", "embeddings": False}, read_manifest(crops).paths):
        pass
    journal.write_text(journal.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"l\.csv\.journal .*delete it to start anew") as raised:
        label_manifest(read_manifest(crops), Broken(0.5, 1), out, {}, 4)
    assert len(str(raised.value)) < 600
    journal.write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match="is damaged"):
        label_manifest(read_manifest(crops), Broken(0.5, 1), out, {}, 4)


def test_paths_lead_to_the_images_from_another_folder(crops: Path, tmp_path: Path) -> None:
    first = label_manifest(read_manifest(crops), Sharpness(), tmp_path / "elsewhere/deep/labels.csv")
    found = read_manifest(tmp_path / "elsewhere/deep/labels.csv")
    assert found.paths[0] == "../../crops/person0/0.png"
    assert found.column("source")[0] == "person0/0.png"
    assert found.identities == read_manifest(crops).identities
    np.testing.assert_array_equal(found.load_face(0), read_manifest(crops).load_face(0))
    again = label_manifest(found, Sharpness(), tmp_path / "labels.csv")
    assert again["sharpness"].to_pylist() == first["sharpness"].to_pylist()
    back = read_manifest(tmp_path / "labels.csv")
    assert (back.paths[0], back.column("source")[0]) == ("crops/person0/0.png", "person0/0.png")

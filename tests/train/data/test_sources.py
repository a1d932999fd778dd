"""Several sources of images: their people, landmarks, borders and names; and tables of landmarks."""

import csv
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from sdk.alignment import TEMPLATE, align
from sdk.errors import InputError
from train.cli import app
from train.data.crops import share_outside
from train.data.manifest import Manifest, make_manifest, read_manifest
from train.data.prepare import PrepareSettings, prepare
from train.data.source_images import source_faces
from train.data.sources.landmarks import COLUMNS, with_landmarks
from train.data.sources.source import Source, sources_of_recipe

SETTINGS = PrepareSettings(copies=1, test_copies=1, test=0.5, validation=0.3, seed=2, border="replicate")

POINTS = 0.8 * TEMPLATE - 30
"""Landmarks of a face that begins left of and above its image."""

TITLES = ["file", "person", "lfw_name", "score", *COLUMNS]


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(30, 256, (12, 12, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (70, 80), interpolation=cv2.INTER_CUBIC))


def write_csv(path: Path, rows: list[list[object]], titles: list[str] = TITLES, bom: str = "") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(bom)
        csv.writer(file).writerows([titles, *rows])
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two archives: twelve people by name, an image each; ten of them by number, two images each, and a table."""
    names, rows = [], []
    for person in range(12):
        names.append(f"P{person}/{person}.png")
        write_image(tmp_path / "wild" / names[-1], person)
        for index in range(2) if person < 10 else ():
            name = f"studio/{person:03d}/{index}.png"
            write_image(tmp_path / name, 100 + 2 * person + index)
            rows.append([name, f"studio-{person}", f"P{person}", 0.9, *POINTS.ravel()])
    np.savez(tmp_path / "wild.npz", names=np.array(names), landmarks=np.repeat(TEMPLATE[None] * 0.6, len(names), 0))
    write_csv(tmp_path / "studio.csv", rows)
    for name in ("wild", "studio"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            archive.add(tmp_path / name, name)
    return tmp_path


SECTION = {
    "sources": [
        {"source": "wild.tar", "landmarks": "wild.npz"},
        {"source": "studio.tar", "landmarks": "studio.csv", "identity": "lfw_name"},
    ]
}


def test_two_sources_of_the_same_people(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    made = read_manifest(prepare(sources_of_recipe(SECTION, data), data / "out", SETTINGS))
    rows = [row for row in made.table.to_pylist() if not row["degradation"]]
    assert len(made) == 2 * len(rows) == 64
    assert "10 people are in several sources" in caplog.text
    assert {row["identity"] for row in rows} == {f"P{person}" for person in range(12)}
    sides = {(row["identity"], row["split"]) for row in rows}
    assert len(sides) == 12
    assert {split for _, split in sides} == {"train", "validation", "test"}
    assert {row["source"] for row in rows} >= {"wild/P3/3.png", "studio/003/0.png", "studio/003/1.png"}
    for row in rows:
        wild = row["source"].startswith("wild/")
        image = cv2.imread(str(data / row["source"]))
        crop = align(image, TEMPLATE * 0.6 if wild else POINTS, border="replicate")
        np.testing.assert_array_equal(cv2.imread(str(data / "out" / row["path"])), crop)
        assert row["outside"] == round(share_outside(TEMPLATE * 0.6 if wild else POINTS, 80, 70), 4)
        assert bool(row["edge"]) == (row["outside"] > 0)
    outside = {row["original"]: row["outside"] for row in rows}
    assert all(row["outside"] == outside[row["original"]] for row in made.table.to_pylist())


def test_a_run_with_several_sources_goes_on_only_with_the_same(data: Path) -> None:
    sources, out = sources_of_recipe(SECTION, data), data / "out"
    before = prepare(sources, out, SETTINGS).read_bytes()
    kept = json.loads((out / "prepare.json").read_text())
    assert kept["border"] == "replicate"
    assert kept["sources"][1] == {"source": "studio.tar", "landmarks": "studio.csv", "identity": "lfw_name"}
    (out / "manifest.csv").unlink()  # as if it had been stopped just before
    assert prepare(sources, out, SETTINGS).read_bytes() == before
    for other, settings, message in (
        (sources[:1], SETTINGS, "with sources="),
        ((sources[0], Source(*sources[1].files)), SETTINGS, "identity='lfw_name', this one has .*identity=None"),
        (sources, PrepareSettings(copies=1, test=0.5, validation=0.3, seed=2), "border='replicate'.*border='black'"),
    ):
        with pytest.raises(InputError, match=f"is of a run .*{message}"):
            prepare(other, out, settings)


def test_faces_are_cut_again_from_several_sources(data: Path) -> None:
    sources = sources_of_recipe(SECTION, data)
    manifest = read_manifest(prepare(sources, data / "out", SETTINGS))
    folders = [replace(source, source=data / source.source.stem) for source in sources]
    found = source_faces(manifest, range(len(manifest)), folders, SETTINGS)
    assert len(found) == len(manifest)
    for row, source in found.items():
        np.testing.assert_array_equal(source.cut(source.landmarks), manifest.load_face(row))


def test_black_is_the_border_where_none_is_named(data: Path) -> None:
    source = Source(data / "studio", data / "studio.csv", "lfw_name")
    settings = PrepareSettings(copies=0, test_copies=0, test=0, validation=0)
    made = read_manifest(prepare([source], data / "out", settings))
    assert set(made.column("source")) == {f"{person:03d}/{index}.png" for person in range(10) for index in range(2)}
    crop = made.load_face(0)
    assert not crop[:20, :20].any()
    assert crop[60:, 60:].min() > 0
    assert made.column("outside")[0] == pytest.approx((crop == 0).all(axis=2).mean(), abs=0.02)


@pytest.mark.parametrize(
    ("landmarks", "share"),
    [
        (TEMPLATE, 0.0),
        (TEMPLATE - [56, 0], 0.5),
        (TEMPLATE + 28, 1 - 0.75**2),
        (2 * TEMPLATE, 0.75),
        (TEMPLATE + 500, 1.0),
    ],
)
def test_the_share_outside_by_hand(landmarks: Any, share: float) -> None:
    assert share_outside(landmarks, 112, 112) == pytest.approx(share, abs=1e-9 if share in (0, 1) else 0.01)


def images(root: Path) -> Manifest:
    return make_manifest([{"path": "a/1.png"}, {"path": "a/2.png"}, {"path": "b/1.png"}], root / "set")


FACE = POINTS.round(2).ravel().tolist()


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("titles", "rows"),
    [
        (["file", "who", *COLUMNS], [["set/a/1.png", "007", *FACE], ["set/b/1.png", "NA", *FACE]]),
        (["path", "who", *COLUMNS], [["a/1.png", "007", *FACE], ["b/1.png", "NA", *FACE]]),
        (["who", "path", "landmarks"], [["007", "a/1.png", " ".join(map(str, FACE))],
                                        ["NA", "b/1.png", " ".join(map(str, FACE))]]),
        (["file", "who", *COLUMNS], [["set/a/1.png", "007", *FACE], ["set/b/1.png", "NA", *FACE],
                                     ["set/a/2.png", "1e5", *[""] * 10]]),
    ],
)  # fmt: skip
def test_tables_of_landmarks(tmp_path: Path, titles: list[str], rows: list[list[object]], bom: str) -> None:
    found = with_landmarks(images(tmp_path), write_csv(tmp_path / "t.csv", rows, titles, bom), "who")
    assert (found.paths, found.identities) == (["a/1.png", "b/1.png"], ["007", "NA"])
    for row in range(2):
        np.testing.assert_allclose(found.landmarks(row), POINTS, atol=0.01)
    assert with_landmarks(images(tmp_path), tmp_path / "t.csv").identities == ["a", "b"]


def test_a_parquet_table_of_landmarks(tmp_path: Path) -> None:
    table = pa.table({"path": ["b/1.png"], "landmarks": [FACE], "who": [12]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    found = with_landmarks(images(tmp_path), tmp_path / "t.parquet", "who")
    assert (found.paths, found.identities) == (["b/1.png"], ["12"])
    np.testing.assert_allclose(found.landmarks(0), POINTS, atol=0.01)


def test_a_folder_within_one_of_the_same_name(tmp_path: Path) -> None:
    manifest = make_manifest([{"path": "set/1.png"}, {"path": "1.png"}], tmp_path / "set")
    rows: list[list[object]] = [["set/1.png", *FACE]]
    found = with_landmarks(manifest, write_csv(tmp_path / "t.csv", rows, ["path", *COLUMNS]))
    assert found.paths == ["set/1.png"]


SWAPPED = POINTS[[1, 0, 2, 4, 3]].ravel().tolist()


@pytest.mark.parametrize(
    ("titles", "row", "message"),
    [
        (["name", *COLUMNS], ["a/1.png", *FACE], "has no column 'path' or 'file', only name, leye_x"),
        (["file", *COLUMNS[:-1]], ["a/1.png", *FACE[:-1]], "lacks rmouth_y; wanted a column 'landmarks', or leye_x"),
        (["file", *COLUMNS], ["a/1.png", "left", *FACE[1:]], "'leye_x' does not hold numbers: 'left' in row 1"),
        (["file", *COLUMNS], ["a/1.png", *FACE[:-1], "inf"], "'rmouth_y' is infinite in row 1"),
        (
            ["file", *COLUMNS],
            ["a/9.png", *FACE],
            "has landmarks of none of the images, first 'a/1.png'; its first .*'a/9",
        ),
        (["file", *COLUMNS], ["a/1.png", *[""] * 10], "has landmarks of none of the images"),
        (["file", *COLUMNS], ["a/1.png", *SWAPPED], "has leye right of reye in most rows, wanted the eye that is left"),
        (["file", "who", *COLUMNS], ["a/1.png", "x/y", *FACE], "the who in row 1 of .*t.csv is 'x/y', wanted a name"),
        (["file", "who", *COLUMNS], ["a/1.png", "", *FACE], "the who in row 1 of .*t.csv is blank"),
        (["file", "Who", *COLUMNS], ["a/1.png", "x", *FACE], "has no column 'who', only file, Who"),
    ],
)
def test_bad_tables_of_landmarks(tmp_path: Path, titles: list[str], row: list[object], message: str) -> None:
    path = write_csv(tmp_path / "t.csv", [row], titles)
    with pytest.raises(InputError, match=message) as raised:
        with_landmarks(images(tmp_path), path, "who" if "ho" in "".join(titles[:2]) else None)
    assert "t.csv" in str(raised.value)


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    twice = write_csv(tmp_path / "t.csv", [["a/1.png", *FACE]] * 2, ["file", *COLUMNS])
    with pytest.raises(InputError, match=r"t\.csv names 'a/1\.png' more than once"):
        with_landmarks(images(tmp_path), twice)
    with pytest.raises(InputError, match=r"no file at .*absent\.csv"):
        with_landmarks(images(tmp_path), tmp_path / "absent.csv")
    np.savez(tmp_path / "t.npz", names=["a/1.png"], landmarks=POINTS[None])
    with pytest.raises(InputError, match=r"t\.npz is no table, so it has no column 'who'"):
        with_landmarks(images(tmp_path), tmp_path / "t.npz", "who")


def test_landmarks_that_are_partly_missing_leave_the_image_out(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [["studio/000/0.png", "x", "P0", 1, *POINTS.ravel()], ["studio/001/0.png", "x", "P1", 1, "", *FACE[1:]]]
    source = Source(data / "studio", write_csv(data / "few.csv", rows), "lfw_name")
    made = read_manifest(prepare([source], data / "out", PrepareSettings(copies=0, test_copies=0)))
    assert made.column("source") == ["000/0.png"]
    assert list(source_faces(made, [0], [source], PrepareSettings())) == [0]
    assert "0.png hold NaN or infinity" in caplog.text
    assert "18 images have no landmarks in" in caplog.text


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "prepare.source is None, wanted text"),
        ({"source": 5}, "prepare.source is 5, wanted text"),
        ({"source": "a", "landmarks": None}, "prepare.landmarks is None, wanted text"),
        ({"source": "a", "identity": "who"}, "identity is 'who', but .* has no file of landmarks"),
        ({"sources": []}, r"prepare.sources is \[\], wanted a list"),
        ({"sources": "a.tar"}, "prepare.sources is 'a.tar', wanted a list"),
        ({"sources": ["a.tar"]}, "prepare.sources has 'a.tar', wanted a mapping"),
        ({"sources": [{"landmarks": "a.npz"}]}, "prepare.sources.source is None, wanted text"),
        ({"sources": [{"source": "a", "lanmarks": "b"}]}, "no setting 'lanmarks', wanted: source, landmarks, identity"),
        ({"sources": [{"source": "a"}], "landmarks": "b"}, "'sources' and a source beside it"),
    ],
)
def test_bad_sources_of_recipes(section: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sources_of_recipe(section, Path())


def test_sources_of_one_name_are_refused(data: Path) -> None:
    (data / "other").mkdir()
    for name in ("wild", "wild.tar"):
        (data / name).rename(data / "other" / name)
        (data / name).symlink_to(data / "other" / name)
    with pytest.raises(InputError, match="two sources are folders of the name 'wild'"):
        prepare([Source(data / "wild"), Source(data / "other/wild")], data / "out", SETTINGS)
    with pytest.raises(InputError, match="two sources are archives of the name 'wild'"):
        prepare([Source(data / "wild.tar"), Source(data / "other/wild.tar")], data / "out", SETTINGS)


def command(data: Path, *arguments: str, code: int = 0) -> str:
    sources = [str(data / name) for name in ("wild.tar", "studio.tar")]
    result = CliRunner().invoke(app, ["prepare", *sources, "--out", str(data / "out"), *arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_the_command_takes_several_sources(data: Path) -> None:
    marks = ["--landmarks", str(data / "wild.npz"), "--landmarks", str(data / "studio.csv")]
    people = ["--identity", "", "--identity", "lfw_name"]
    assert "--landmarks is given 1 times for 2 sources, wanted once for each" in command(data, *marks[:2], code=2)
    assert "--identity is given 1 times" in command(data, *marks, *people[:2], code=2)
    assert "border is 'white', wanted 'black' or 'replicate'" in command(data, *marks, "--border", "white", code=2)
    command(data, *marks, *people, "--border", "replicate", "--copies", "0")
    made = read_manifest(data / "out/manifest.csv")
    assert set(made.identities) == {f"P{person}" for person in range(12)}
    assert {name.partition("/")[0] for name in made.column("source")} == {"wild", "studio"}

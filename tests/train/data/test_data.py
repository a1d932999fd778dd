"""Degradations, preparation and targets."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sdk.errors import InputError
from tests.support.weights import golden_image
from train.data.crops import crop_stems
from train.data.label_targets import (
    TargetSettings,
    centre_cosines,
    label_column,
    make_targets,
    mid_rank,
)
from train.data.manifest import Manifest, make_manifest, read_manifest, read_table
from train.data.prepare import PrepareSettings, prepare, split_people
from train.data.sources.source import Source
from train.degradations.graded import (
    DEGRADATIONS,
    VERSION,
    degrade,
    describe,
    draw_damages,
    worst_grade,
)


@pytest.fixture(scope="module")
def face() -> NDArray[np.uint8]:
    return ((golden_image("face", (112, 112, 3)) + 1) * 127.5).astype(np.uint8)


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_damage_grows_with_its_grade(kind: str, face: NDArray[np.uint8]) -> None:
    def change(grade: float) -> float:
        draws = [degrade(face, [(kind, grade)], np.random.default_rng(seed)) for seed in range(20)]
        return float(np.mean([np.abs(draw.astype(float) - face).mean() for draw in draws]))

    before = face.copy()
    changes = [change(grade) for grade in (0.0, 0.33, 0.66, 1.0)]
    assert changes == sorted(changes)
    assert changes[-1] > 1.3 * changes[0]
    assert changes[-1] > 10
    np.testing.assert_array_equal(face, before)


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_damage_is_repeatable(kind: str, face: NDArray[np.uint8]) -> None:
    first, second = (degrade(face, [(kind, 0.7)], np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == face.shape
    assert first.dtype == np.uint8


def test_what_some_degradations_are(face: NDArray[np.uint8]) -> None:
    rng = np.random.default_rng(0)
    assert degrade(face, [("darkness", 1.0)], rng).mean() < 0.1 * face.mean()
    assert (degrade(face, [("over_exposure", 1.0)], rng) == 255).mean() > 0.5
    assert np.abs(degrade(face, [("noise", 1.0)], rng).astype(float) - face).std() > 30
    covered = (degrade(face, [("occlusion", 1.0)], rng) != face).any(axis=2).mean()
    assert 0.5 < covered <= 0.8


def test_draws_are_graded_and_described() -> None:
    rng = np.random.default_rng(0)
    draws = [draw_damages((0.2, 0.4), rng) for _ in range(500)]
    sizes = np.bincount([len(draw) for draw in draws], minlength=4)
    assert (sizes[1:] > 50).all()
    assert all(0.1 < grade <= 0.4 for draw in draws for _, grade in draw)
    assert {kind for draw in draws for kind, _ in draw} == set(DEGRADATIONS)
    assert describe([("blur", 0.25), ("noise", 0.5)]) == "blur=0.25+noise=0.5"
    assert worst_grade("blur=0.25+noise=0.5") == 0.5
    assert worst_grade("") == 0


@pytest.mark.parametrize(
    ("damages", "message"), [([("rain", 0.5)], "unknown degradation 'rain'"), ([("blur", 1.5)], "grade of blur is 1.5")]
)
def test_bad_damage(face: NDArray[np.uint8], damages: list[tuple[str, float]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        degrade(face, damages, np.random.default_rng(0))


def test_damage_wants_a_crop() -> None:
    with pytest.raises(InputError, match="align it first"):
        degrade(np.zeros((50, 50, 3), np.uint8), [], np.random.default_rng(0))


@pytest.fixture
def archive(tmp_path: Path) -> tuple[Path, Path]:
    """A tar of 40 people and their landmarks, as LFW comes; one image is broken."""
    points = np.array([(80.0, 90), (130, 92), (106, 120), (86, 148), (128, 149)])
    names = []
    for index in range(60):
        person = f"P{index % 40:02d}"
        path = tmp_path / "lfw" / person / f"{person}_{index:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(index).integers(0, 256, (25, 25, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(image, (250, 250)))
        names.append(f"{person}/{path.name}")
    (tmp_path / "lfw" / names[0]).write_bytes(b"broken")
    with tarfile.open(tmp_path / "lfw.tar", "w") as tar:
        tar.add(tmp_path / "lfw", "lfw")
    np.savez(tmp_path / "marks.npz", names=np.array(names), landmarks=np.repeat(points[None], 60, 0))
    return tmp_path / "lfw.tar", tmp_path / "marks.npz"


def prepare_one(source: Path, out: Path, settings: PrepareSettings, landmarks: Path | None = None) -> Path:
    """Prepare a single source."""
    return prepare([Source(source, landmarks)], out, settings)


def test_prepare(archive: tuple[Path, Path], tmp_path: Path) -> None:
    settings = PrepareSettings(copies=2, test_copies=1, validation=0.2)
    made = read_manifest(prepare_one(archive[0], tmp_path / "out", settings, archive[1]))
    rows = made.table.to_pylist()
    by_person: dict[str, set[str]] = {}
    for index, row in enumerate(rows):
        assert made.load_face(index).shape == (112, 112, 3)
        by_person.setdefault(row["identity"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in by_person.values())
    counts = {split: sum(row["split"] == split for row in rows) for split in ("train", "validation", "test")}
    assert all(counts.values())
    clean = [row for row in rows if not row["degradation"]]
    assert len(clean) == 59  # all but the broken one
    assert all(row["path"] == row["original"] for row in clean)
    for row in clean:
        copies = sum(other["original"] == row["path"] for other in rows) - 1
        assert copies == (1 if row["split"] == "test" else 2)
    again = read_manifest(prepare_one(archive[0], tmp_path / "again", settings, archive[1]))
    assert again.table.equals(made.table)
    assert all(np.array_equal(made.load_face(i), again.load_face(i)) for i in range(len(rows)))


def test_prepare_makes_misaligned_copies_of_test_images(archive: tuple[Path, Path], tmp_path: Path) -> None:
    settings = PrepareSettings(copies=0, test_copies=0, misaligned=2)
    made = read_manifest(prepare_one(archive[0], tmp_path / "out", settings, archive[1]))
    rows = made.table.to_pylist()
    copies = [index for index, row in enumerate(rows) if row["degradation"]]
    tests = [row["path"] for row in rows if row["split"] == "test" and not row["degradation"]]
    assert sorted(rows[index]["original"] for index in copies) == sorted([*tests, *tests])
    assert {row["degradations_version"] for row in rows} == {VERSION}
    for index in copies:
        grade = worst_grade(rows[index]["degradation"])
        assert rows[index]["degradation"] == f"landmarks={grade:g}"
        assert grade <= 0.5 if rows[index]["path"].endswith("-m1.png") else grade >= 0.5
        original = made.load_face(made.paths.index(rows[index]["original"]))
        assert np.abs(made.load_face(index).astype(float) - original).mean() > 5 * grade


@pytest.mark.parametrize(
    ("settings", "marks", "message"),
    [
        (PrepareSettings(copies=1, seed=1), "marks.npz", "seed=0, this one has seed=1"),
        (PrepareSettings(copies=2), "marks.npz", "copies=1, this one has copies=2"),
        (
            PrepareSettings(copies=1),
            "other.npz",
            "landmarks='marks.npz', this one has sources.0.landmarks='other.npz'",
        ),
    ],
)
def test_crops_are_not_taken_for_those_of_another_run(
    archive: tuple[Path, Path], tmp_path: Path, settings: PrepareSettings, marks: str, message: str
) -> None:
    source, landmarks = archive
    before = prepare_one(source, tmp_path / "out", PrepareSettings(copies=1), landmarks).read_bytes()
    with pytest.raises(InputError, match=f"is of a run with .*{message}; give another --out"):
        prepare_one(source, tmp_path / "out", settings, tmp_path / marks)
    assert prepare_one(source, tmp_path / "out", PrepareSettings(copies=1), landmarks).read_bytes() == before


@pytest.mark.parametrize(
    "wrong", [{"copies": -1}, {"test_copies": -1}, {"misaligned": -1}, {"test": 3.0}, {"validation": float("nan")}]
)
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"{next(iter(wrong))} is .*, wanted"):
        PrepareSettings(**wrong)


def test_damaged_archives(archive: tuple[Path, Path], tmp_path: Path) -> None:
    whole = archive[0].read_bytes()
    for content in (whole[: len(whole) // 2 + 700], b"text"):
        archive[0].write_bytes(content)
        with pytest.raises(InputError, match=r"lfw\.tar is truncated.*(in lfw/P|compressed or not a \.tar)"):
            prepare_one(archive[0], tmp_path / "out", PrepareSettings())
    archive[0].write_bytes(whole)
    prepare_one(archive[0], tmp_path / "out", PrepareSettings(), archive[1])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def without_landmarks(path: Path) -> None:
    np.savez(path, names=["a"])


def fewer_landmarks(path: Path) -> None:
    np.savez(path, names=["a", "b"], landmarks=np.zeros((1, 5, 2)))


@pytest.mark.parametrize(
    "spoil", [Path.unlink, cut, without_landmarks, fewer_landmarks, lambda path: path.write_text("")]
)
def test_damaged_landmarks(archive: tuple[Path, Path], tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(archive[1])
    with pytest.raises(
        InputError, match=r"marks\.npz.*; wanted an \.npz with names \(N,\) and landmarks \(N, \.\.\.\)"
    ):
        prepare_one(archive[0], tmp_path / "out", PrepareSettings(), archive[1])


def test_landmarks_that_are_no_numbers_name_their_image(archive: tuple[Path, Path], tmp_path: Path) -> None:
    with np.load(archive[1]) as file:
        names, landmarks = file["names"], file["landmarks"]
    landmarks[7, 2, 0] = np.nan
    np.savez(archive[1], names=names, landmarks=landmarks)
    prepare_one(archive[0], tmp_path / "out", PrepareSettings(copies=0, test_copies=0), archive[1])
    left = read_table(tmp_path / "out/left-out.csv").to_pylist()
    assert [row["path"] for row in left] == [names[0], names[7]]
    assert f"{names[7]} hold NaN or infinity" in left[1]["error"]


def test_split_is_by_name_not_by_company() -> None:
    settings = PrepareSettings()
    people = [f"p{index // 2}" for index in range(400)]
    splits = split_people(people, settings)
    assert split_people(people[:100], settings) == {name: splits[name] for name in set(people[:100])}
    share = sum(split == "test" for split in splits.values()) / 200
    assert 0.3 < share < 0.5
    assert "test" not in split_people([f"p{index}" for index in range(200)], settings).values()


NFD, NFC = "Zoe\u0308", "Zo\u00eb"


@pytest.mark.parametrize(
    "names",
    [
        ("p/b.png", "p/b.bmp"), ("p/b.png", "p/b-2.png", "p/b-2-1.png"), ("p/b.png", "p/B.png"),
        ("p/b.png", "p/b~2.bmp"),
        (f"p/{NFD}.png", f"p/{NFC}.png"), ("Ann/b.png", "ann/b.png"), (f"{NFD}/b.png", f"{NFC}/b.png"),
        ("p/" + "n" * 251 + ".png", "p/" + "n" * 250 + ".png"), ("b.png", "b.bmp"),
    ],
)  # fmt: skip
def test_no_two_crops_share_a_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((112, 112, 3), 20 * index, np.uint8))
    rows = read_manifest(prepare_one(folder, out, PrepareSettings(test=0, validation=0))).table.to_pylist()
    assert len({row["path"].casefold() for row in rows}) == len(rows) == 4 * len(names)
    for row in rows:
        if not row["degradation"]:
            found, wanted = cv2.imread(str(out / row["path"])), cv2.imread(str(folder / row["source"]))
            np.testing.assert_array_equal(found, wanted)


def test_names_of_crops_do_not_depend_on_the_order_of_rows() -> None:
    marks = ["", "-1"]
    assert crop_stems(["p/a.png", "p/a-1.png"], ["p", "p"], [marks] * 2) == ["a~2", "a-1"]
    assert crop_stems(["p/a-1.png", "p/a.png"], ["p", "p"], [marks] * 2) == ["a-1", "a~2"]
    assert crop_stems(["p/a.png", "q/a.png"], ["p", "q"], [marks] * 2) == ["a", "a"]
    assert crop_stems(["p/a.png", "q/a.png"], ["Jr.", "jr "], [marks] * 2) == ["a", "a~2"]


def test_crops_are_never_written_over_images(tmp_path: Path) -> None:
    crop = tmp_path / "train/ann/a.png"
    crop.parent.mkdir(parents=True)
    cv2.imwrite(str(crop), np.zeros((112, 112, 3), np.uint8))
    (tmp_path / "m.csv").write_text("path,identity\ntrain/ann/a.png,ann\n")
    before = crop.read_bytes()
    settings = PrepareSettings(test=0, validation=0)
    with pytest.raises(InputError, match="written over an image"):
        prepare_one(tmp_path / "m.csv", tmp_path, settings)
    with pytest.raises(InputError, match="is an input"):
        prepare_one(tmp_path / "train", tmp_path / "train", settings)
    (tmp_path / "m.csv").rename(tmp_path / "manifest.csv")
    with pytest.raises(InputError, match="is an input"):
        prepare_one(tmp_path / "manifest.csv", tmp_path, settings)
    assert crop.read_bytes() == before


def test_a_folder_of_crops_within_that_of_the_images(tmp_path: Path) -> None:
    for name in ("ann/a.png", "bob/b.png"):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), np.zeros((112, 112, 3), np.uint8))
    first = prepare_one(tmp_path, tmp_path / "out", PrepareSettings()).read_bytes()
    (tmp_path / "out/manifest.csv").unlink()  # as if it had been stopped just before
    assert prepare_one(tmp_path, tmp_path / "out", PrepareSettings()).read_bytes() == first


EMBEDDINGS = np.array([[2.0, 0], [0, 1], [1, 1], [0, 3]])
PEOPLE = ["a", "a", "a", "b"]
CLEAN = np.array([True, True, False, True])


def test_centre_cosines_by_hand() -> None:
    # Centre of a: (2, 1); of b: (0, 3). Without itself the first image of a meets (0, 1), the second (2, 0).
    found = centre_cosines(EMBEDDINGS, PEOPLE, CLEAN)
    np.testing.assert_allclose(found, [2 / 5**0.5, 1 / 5**0.5, 3 / 10**0.5, 1], rtol=1e-6)
    left = centre_cosines(EMBEDDINGS, PEOPLE, CLEAN, leave_out=True)
    np.testing.assert_allclose(left, [0, 0, 3 / 10**0.5, 0], atol=1e-6)  # b has no other: the mean of a's two


def test_targets_by_hand() -> None:
    labels = np.array([0.4, 0.2, 0.6, 0.5])
    plain = make_targets(labels, EMBEDDINGS, PEOPLE, CLEAN, TargetSettings())
    np.testing.assert_allclose(plain, [0.5, 0, 1, 0.75])
    cosine = centre_cosines(EMBEDDINGS, PEOPLE, CLEAN)
    less = make_targets(labels, EMBEDDINGS, PEOPLE, CLEAN, TargetSettings(centre="subtract", weight=0.5))
    raw = labels - 0.5 * (1 - cosine)
    np.testing.assert_allclose(less, (raw - raw.min()) / np.ptp(raw), rtol=1e-5)
    ranked = make_targets(labels, EMBEDDINGS, PEOPLE, CLEAN, TargetSettings(centre="product", weight=1, scale="rank"))
    order = np.argsort(labels * cosine)
    assert np.array_equal(np.argsort(ranked), order)
    assert 0 <= ranked.min() < ranked.max() <= 1


def test_targets_averaged_with_another_column() -> None:
    labels, other = np.array([0.4, 0.2, 0.6, 0.5]), np.array([8.0, 2, 4, 6])
    found = make_targets(labels, None, PEOPLE, CLEAN, TargetSettings(average="lightqnet"), other)
    raw = labels / labels[CLEAN].mean() + other / other[CLEAN].mean()
    np.testing.assert_allclose(found, (raw - raw.min()) / np.ptp(raw), rtol=1e-6)
    other[1] = np.nan
    with pytest.raises(InputError, match="1 of 4 labels of lightqnet are NaN"):
        make_targets(labels, None, PEOPLE, CLEAN, TargetSettings(average="lightqnet"), other)


def test_mid_rank() -> None:
    np.testing.assert_allclose(mid_rank(np.array([0.0, 1, 5]), np.array([1.0, 1, 2, 3])), [0, 0.25, 1])


@pytest.mark.parametrize(
    ("labels", "people", "settings", "message"),
    [
        ([0.5] * 4, PEOPLE, TargetSettings(), "all 4 labels are 0.5"),
        ([0.1, np.nan, 0.2, 0.3], PEOPLE, TargetSettings(), "1 of 4 labels are NaN"),
        ([0.1, 0.2, 0.3, 0.4], ["a", "a", "c", "b"], TargetSettings(centre="product"), "'c' has no clean image"),
    ],
)
def test_bad_targets(labels: list[float], people: list[str], settings: TargetSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_targets(np.array(labels), EMBEDDINGS, people, CLEAN, settings)


def labelled(**columns: list[float | None] | list[str]) -> Manifest:
    count = len(next(iter(columns.values())))
    rows = [{name: values[row] for name, values in columns.items()} for row in range(count)]
    return make_manifest([{"path": f"a/{row}.png", **values} for row, values in enumerate(rows)], Path())


def test_one_column_of_labels_comes_as_it_is() -> None:
    manifest = labelled(faceqan=[3.0, None, 7.0, float("nan")])
    np.testing.assert_array_equal(label_column(manifest, "faceqan"), [3, np.nan, 7, np.nan])


def test_several_columns_are_averaged_by_rank() -> None:
    manifest = labelled(a=[0.1, 0.9, 0.5, 0.5, 0.2], b=[30.0, 20, 40, 10, None])
    ranks_a, ranks_b = np.array([0.5, 3.5, 2, 2]) / 4, np.array([2.5, 1.5, 3.5, 0.5]) / 4
    wanted = [*(ranks_a + ranks_b) / 2, np.nan]
    np.testing.assert_allclose(label_column(manifest, "a,b"), wanted)
    np.testing.assert_allclose(label_column(manifest, "b,a"), wanted)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("a,c", "^the manifest has no column 'c', only path, a, b, same, words, identity"),
        ("a,same", r"all 2 labels of same are 0.5"),
        ("a,b", "no row of 3 has a label of a and b"),
        ("words", "'words' does not hold numbers"),
    ],
)
def test_labels_that_cannot_be_used(names: str, message: str) -> None:
    a, b = [0.1, None, 0.3], [None, 0.2, None]
    manifest = labelled(a=a, b=b, same=[0.5, 0.5, 0.5], words=["x", "y", "z"])
    with pytest.raises(InputError, match=message):
        label_column(manifest, names)

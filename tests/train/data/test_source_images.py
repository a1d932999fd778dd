"""Faces cut from their source images, on true and on perturbed landmarks."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from sdk.alignment import TEMPLATE, similarity_transform
from sdk.errors import ImageError, InputError
from tests.support.weights import golden_image
from train.data.manifest import Manifest, make_manifest, read_manifest
from train.data.prepare import PrepareSettings, prepare
from train.data.source_images import PerturbedDataset, SourceFace, source_faces
from train.data.sources.source import Source
from train.degradations.landmarks import perturb

GOLDEN = np.load(Path(__file__).parents[2] / "data" / "golden" / "alignment.npz")

POINTS = np.array([(50.0, 60), (90, 60), (70, 80), (55, 102), (86, 102)])

PREPARED = PrepareSettings(copies=2, test_copies=1, test=0.5, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people with two images each, their landmarks, and crops of them."""
    folder = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    names = []
    for person in range(6):
        for index in range(2):
            path = folder / "people" / f"p{person}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            cv2.imwrite(str(path), cv2.resize(noise, (140, 150), interpolation=cv2.INTER_CUBIC))
            names.append(f"p{person}/{index}.png")
    points = POINTS + rng.uniform(-5, 5, (len(names), 5, 2))
    np.savez(folder / "marks.npz", names=np.array(names), landmarks=points)
    prepare([source_of(folder)], folder / "faces", PREPARED)
    return folder


def source_of(folder: Path) -> Source:
    return Source(folder / "people", folder / "marks.npz")


def sources_of(folder: Path, prepared: PrepareSettings = PREPARED) -> tuple[Manifest, dict[int, SourceFace]]:
    manifest = read_manifest(folder / "faces/manifest.csv")
    return manifest, source_faces(manifest, range(len(manifest)), [source_of(folder)], prepared)


def test_golden_crops(tmp_path: Path) -> None:
    image = (127.5 * (golden_image("align", (3, 240, 320)).transpose(1, 2, 0) + 1)).round().astype(np.uint8)
    cv2.imwrite(str(tmp_path / "face.png"), image)
    rows = [{"path": "face.png", "landmarks": points.ravel().tolist()} for points in GOLDEN["landmarks"]]
    manifest = make_manifest(rows, tmp_path)
    sources = source_faces(manifest, range(6))
    data = PerturbedDataset(manifest, sources, range(6), {}, pixels=0.0)
    for row in range(6):
        matrix = similarity_transform(sources[row].landmarks)
        np.testing.assert_allclose(matrix, GOLDEN["matrices"][row], rtol=0, atol=1e-4)
    for row, crop in enumerate(GOLDEN["crops"]):
        found = data[(0, row)]["image"].numpy()[::-1].transpose(1, 2, 0)
        assert np.abs(found.astype(int) - crop).max() <= 1


def test_true_landmarks_give_the_very_crops(folder: Path) -> None:
    manifest, sources = sources_of(folder)
    damaged = manifest.column("degradation")
    assert 0 < sum(map(bool, damaged)) < len(damaged)
    assert len(set(manifest.column("split"))) > 1
    for row, source in sources.items():
        np.testing.assert_array_equal(source.cut(source.landmarks), manifest.load_face(row))


def test_the_shift_depends_on_seed_epoch_and_row_alone(folder: Path) -> None:
    manifest, sources = sources_of(folder)
    before = {row: source.landmarks.copy() for row, source in sources.items()}
    first, again, other = (
        PerturbedDataset(manifest, sources, rows, {}, 3.0, seed=seed)
        for rows, seed in ((range(8), 0), (range(7, -1, -1), 0), (range(8), 1))
    )
    faces = [first[(0, index)]["image"].numpy() for index in range(8)]
    for index in reversed(range(8)):
        np.testing.assert_array_equal(first[(0, index)]["image"], faces[index])
        np.testing.assert_array_equal(again[(0, 7 - index)]["image"], faces[index])
        assert (first[(1, index)]["image"].numpy() != faces[index]).any()
        assert (other[(0, index)]["image"].numpy() != faces[index]).any()
    for row, source in sources.items():
        np.testing.assert_array_equal(source.landmarks, before[row])


def test_perturbation_is_uniform_and_never_in_place() -> None:
    rng = np.random.default_rng(0)
    points = POINTS.copy()
    shifts = np.stack([perturb(points, 3.0, rng) - POINTS for _ in range(2000)])
    np.testing.assert_array_equal(points, POINTS)
    assert np.abs(shifts).max() <= 3
    assert shifts.std() == pytest.approx(3 / 3**0.5, rel=0.02)
    assert shifts.mean() == pytest.approx(0, abs=0.03)
    np.testing.assert_array_equal(perturb(points, 0.0, rng), POINTS)


@pytest.mark.parametrize("scale", [0.25, 4.0])
def test_a_scaled_perturbation_is_in_pixels_of_the_crop(scale: float) -> None:
    points = scale * TEMPLATE
    shift = perturb(points, 3.0, np.random.default_rng(0), scaled=True) - points
    plain = perturb(TEMPLATE, 3.0, np.random.default_rng(0)) - TEMPLATE
    np.testing.assert_allclose(shift, scale * plain)


def test_a_scaled_shift_reaches_its_bound_and_no_further() -> None:
    points = 2 * TEMPLATE + 30  # a face twice as large as in the crop
    rng = np.random.default_rng(0)
    shifts = np.stack([perturb(points, 6.0, rng, scaled=True) for _ in range(300)]) - points
    assert 11.4 < np.abs(shifts).max() <= 12.0
    assert np.abs(shifts.mean(axis=0)).max() < 1.8


def test_images_without_landmarks_are_refused(folder: Path, tmp_path: Path) -> None:
    crops = read_manifest(folder / "faces")
    with pytest.raises(InputError, match=r"\d+ images have no landmarks, first '.*png'; wanted unaligned images"):
        source_faces(crops, range(len(crops)))
    rows = [{"path": "a.png", "landmarks": POINTS.ravel().tolist()}, {"path": "b.png", "landmarks": None}]
    mixed = make_manifest(rows, tmp_path)
    assert list(source_faces(mixed, [0])) == [0]
    with pytest.raises(InputError, match=r"1 images have no landmarks, first 'b.png'"):
        source_faces(mixed, [0, 1])
    manifest = read_manifest(folder / "faces/manifest.csv")
    np.savez(tmp_path / "few.npz", names=np.array(["p0/0.png"]), landmarks=POINTS[None])
    with pytest.raises(InputError, match="images have no landmarks, first"):
        source_faces(manifest, range(len(manifest)), [Source(folder / "people", tmp_path / "few.npz")], PREPARED)


def test_copies_that_were_made_otherwise_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="seed = 4 do not make; give the recipe the section 'prepare'"):
        sources_of(folder, PrepareSettings(copies=2, test_copies=1, test=0.5, seed=4))


def test_an_image_that_is_gone_is_named(folder: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png"):
        SourceFace(folder / "gone.png", POINTS).cut(POINTS)

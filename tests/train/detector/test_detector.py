"""The detector's training: photos, scenes, what cells should say, the loss, the loop and the confidence."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from typer.testing import CliRunner

import train.detector.photos
from sdk import Face, InputError
from sdk.detection.networks import cell_grid
from sdk.models.card import METADATA_KEY
from tests.support.device_waits import steps_without_waiting
from train.cli import app
from train.data.manifest import read_manifest
from train.data.sources.source import Source, read_source
from train.detector.cells import IGNORED, NEGATIVE, POSITIVE, assign
from train.detector.dataset import SceneDataset, turned
from train.detector.fit import CONFIDENCE, set_confidence
from train.detector.loss import box_agreement, detection_loss
from train.detector.matching import FALSE, NEITHER, TRUE, confidence_at, match
from train.detector.network import FaceCells
from train.detector.photos import find_faces, known_face, overlaps, read_photos
from train.detector.scenes import _moved, _of_pixels, _seen, _shrunk, draw_scene, mirrored
from train.detector.textures import texture
from train.networks import read_state
from train.recipes import read_recipe

SHAPE = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.75), (0.65, 0.75)], np.float32)
"""Landmarks in a box, in its widths and heights."""


def face(x: float, y: float, w: float, h: float, confidence: float = 1.0) -> np.ndarray:
    """A row of `Rows`."""
    points = np.array((x, y)) + SHAPE * (w, h)
    return np.array([x, y, w, h, *points.reshape(-1), confidence], np.float32)


def draw_face(image: np.ndarray, x: int, y: int, w: int, h: int) -> None:
    """Something that a small network can tell from the rest."""
    cv2.ellipse(image, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360, (120, 160, 220), -1)
    for px, py in SHAPE:
        cv2.circle(image, (int(x + px * w), int(y + py * h)), w // 12, (20, 20, 20), -1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve photos of twelve people, and their landmarks: known.npz beside the folder."""
    rng = np.random.default_rng(0)
    names, points = [], []
    for index in range(12):
        image = texture(120, 120, rng)
        box = int(rng.integers(20, 50)), int(rng.integers(20, 40)), 44, 56
        draw_face(image, *box)
        names.append(f"person{index}/{index}.png")
        (tmp_path / "photos" / names[-1]).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "photos" / names[-1]), image)
        points.append(face(*box)[4:14].reshape(5, 2))
    np.savez(tmp_path / "known.npz", names=names, landmarks=points)
    return tmp_path / "photos"


class Teacher:
    """Finds the drawn face of a photo, landmarks a pixel aside, and a doubtful one in the corner."""

    def __init__(self, model: str, min_confidence: float) -> None:
        assert (model, min_confidence) == ("teacher", 0.3)

    def detect(self, image: np.ndarray) -> list[Face]:
        x, y, w, h = cv2.boundingRect((image == (120, 160, 220)).all(2).astype(np.uint8))
        drawn = Face((x, y, w, h), (face(x, y, w, h)[4:14].reshape(5, 2) + 1), 0.95)
        return [Face((100, 100, 15, 15), SHAPE, 0.5), *([drawn] if w else [])]


@pytest.fixture
def labelled(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(train.detector.photos, "FaceDetector", Teacher)
    (tmp_path / "run").mkdir()
    manifest = read_source(Source(photos, tmp_path / "known.npz"))
    return find_faces(manifest, "teacher", tmp_path / "run/photos.parquet")


def test_known_landmarks_replace_the_teachers(labelled: Path, photos: Path, tmp_path: Path) -> None:
    found, people = read_photos(labelled)
    assert people == [f"person{index}" for index in range(12)]
    archive = np.load(tmp_path / "known.npz")
    known = dict(zip(archive["names"].tolist(), archive["landmarks"], strict=True))
    for photo in found:
        assert photo.faces.shape == (2, 15)
        landmarks = known[photo.path.relative_to(photos).as_posix()]
        np.testing.assert_array_equal(photo.faces[0, 4:14], landmarks.reshape(-1))
        np.testing.assert_allclose(photo.faces[0, :4], [*(landmarks[0] - SHAPE[0] * (44, 56)), 44, 56], atol=1.5)
        assert photo.faces[:, 14].tolist() == [1, 0.5]
        assert photo.faces[1, :4].tolist() == [100, 100, 15, 15]


def test_photos_without_known_landmarks_have_the_teachers(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.detector.photos, "FaceDetector", Teacher)
    found, _ = read_photos(find_faces(read_manifest(photos), "teacher", tmp_path / "photos.parquet"))
    assert [photo.faces[:, 14].tolist() for photo in found] == [[0.5, pytest.approx(0.95)]] * 12


def test_a_photo_whose_known_face_is_not_found_is_left_out(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(train.detector.photos, "FaceDetector", Teacher)
    cv2.imwrite(str(photos / "person3/3.png"), np.zeros((120, 120, 3), np.uint8))
    (photos / "person5/5.png").write_bytes(b"no picture")
    found, people = read_photos(
        find_faces(read_source(Source(photos, tmp_path / "known.npz")), "teacher", tmp_path / "photos.parquet")
    )
    assert people == [f"person{index}" for index in range(12) if index not in (3, 5)]
    assert len(found) == 10
    assert "2 of 12 photos are left out" in caplog.text
    for photo in photos.glob("*/*.png"):
        photo.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"no photo of .* can be used"):
        find_faces(read_manifest(photos), "teacher", tmp_path / "none.parquet")


def test_the_find_that_is_the_known_face() -> None:
    rows = np.stack([face(0, 0, 40, 50), face(8, 0, 40, 50), face(100, 100, 40, 50)])
    assert known_face(rows, face(7, 0, 40, 50)[4:14].reshape(5, 2)) == 1
    assert known_face(rows, face(100, 111, 40, 50)[4:14].reshape(5, 2)) == 2  # 0.275 of the width aside
    assert known_face(rows, face(100, 113, 40, 50)[4:14].reshape(5, 2)) is None
    assert known_face(rows[:0], rows[0, 4:14].reshape(5, 2)) is None


def test_overlaps() -> None:
    a, b = np.array([[0, 0, 10, 10]]), np.array([[5, 5, 10, 10], [2, 2, 4, 4], [50, 50, 5, 5]])
    np.testing.assert_allclose(overlaps(a, b), [[0.25, 1, 0]])


def test_landmarks_go_where_the_picture_goes() -> None:
    image = np.zeros((100, 120, 3), np.uint8)
    row = face(40, 30, 40, 50)
    spots = row[4:14].reshape(5, 2)
    for x, y in spots:  # spots of 2 x 2 pixels, whose middle is there
        image[round(y) - 1 : round(y) + 1, round(x) - 1 : round(x) + 1] = 255
    row[4:14] = np.round(spots).reshape(-1)
    matrix = np.array(cv2.getRotationMatrix2D((60, 50), 20, 1.7))
    warped = cv2.warpAffine(image, _of_pixels(matrix), (160, 160))
    for x, y in _moved(row[None], matrix)[0, 4:14].reshape(5, 2):
        part = warped[int(y) - 5 : int(y) + 6, int(x) - 5 : int(x) + 6, 0].astype(float)
        rows, columns = np.mgrid[:11, :11] + 0.5
        middle = np.array([(columns * part).sum(), (rows * part).sum()]) / part.sum() + (int(x) - 5, int(y) - 5)
        np.testing.assert_allclose(middle, (x, y), atol=0.1)


def test_mirror_image() -> None:
    row = mirrored(face(10, 20, 40, 50)[None], 100)[0]
    assert row[:4].tolist() == [50, 20, 40, 50]
    left_eye, right_eye, *_ = row[4:14].reshape(5, 2).tolist()
    assert left_eye == [pytest.approx(100 - 38), 40]
    assert right_eye == [pytest.approx(100 - 22), 40]


def test_a_turned_face() -> None:
    ahead = face(10, 20, 40, 50)
    assert turned(ahead[None]) == pytest.approx(0, abs=1e-6)
    aside = ahead.copy()
    aside[8] += 4  # the nose, by a quarter of the eyes' distance
    assert turned(aside[None]) == pytest.approx(0.5)
    assert turned(mirrored(aside[None], 100)) == pytest.approx(0.5)
    assert turned(np.zeros((0, 15), np.float32)) == 0


def test_a_reduced_photo_keeps_its_landmarks() -> None:
    image = np.zeros((250, 250, 3), np.uint8)
    image[196:204, 120:128] = 255
    row = face(110, 170, 30, 40)
    row[4:6] = 124, 200
    small, rows = _shrunk(image, row[None], 0.2)
    assert small.shape[:2] == (62, 62)
    y, x = np.mgrid[:62, :62] + 0.5
    weights = small[..., 0] / small[..., 0].sum(dtype=np.float64)
    np.testing.assert_allclose(rows[0, 4:6], ((x * weights).sum(), (y * weights).sum()), atol=0.02)
    assert rows[0, 14] == row[14]


def test_faces_at_the_edge() -> None:
    rows = np.stack([face(10, 10, 20, 20), face(-10, 10, 20, 20), face(-18, 10, 20, 20), face(50, 50, 20, 20, 0.5)])
    seen = _seen(rows, 100, 100)
    assert seen[:, 0].tolist() == [10, -10, 50]
    assert seen[:, 14].tolist() == [1, 0, 0]


def test_scenes(labelled: Path) -> None:
    found, _ = read_photos(labelled)
    scenes = SceneDataset(found, 30, 128, seed=3)
    drawn = [scenes.scene(0, index) for index in range(30)]
    again = SceneDataset(found, 30, 128, seed=3, cache=True).scene(0, 7)
    np.testing.assert_array_equal(again.image, drawn[7].image)
    np.testing.assert_array_equal(again.faces, drawn[7].faces)
    assert any((scenes.scene(1, index).image != drawn[index].image).any() for index in range(3))
    certain = [row for scene in drawn for row in scene.faces if row[14] > 0]
    assert len(certain) > 20
    assert sum(not len(scene.faces) for scene in drawn) >= 1
    widths = [row[2] for row in certain]
    assert min(widths) >= 9
    assert max(widths) > 3 * min(widths)
    item = scenes[0, 7]
    assert item["image"].shape == (3, 128, 128)
    np.testing.assert_array_equal(item["image"].numpy().transpose(1, 2, 0)[..., ::-1], drawn[7].image)
    cells = 16 * 16 + 8 * 8 + 4 * 4
    assert (item["kinds"].shape, item["targets"].shape) == ((cells,), (cells, 14))


def test_a_scene_of_photos_without_faces() -> None:
    def photo(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return texture(100, 100, rng), np.zeros((0, 15), np.float32)

    for seed in range(20):
        assert len(draw_scene(photo, 64, np.random.default_rng(seed)).faces) == 0


def test_assignment() -> None:
    # 16 pixels: only the cells of stride 8 whose middle is within 8 pixels of 20, 20 along both axes.
    kinds, targets = assign(np.stack([face(12, 12, 16, 16)]), 64, 64)
    grid = cell_grid(64, 64)
    own = kinds == POSITIVE
    assert sorted(map(tuple, grid[own].tolist())) == [(20, 20, 8)]
    np.testing.assert_allclose(targets[own], [face(12, 12, 16, 16)[:14]])
    assert (kinds[~own] == NEGATIVE).all()
    # 48 x 48 belongs to both strides 8 and 16, whose reach is 9.6 and 16 pixels around 32, 32.
    kinds, _ = assign(np.stack([face(8, 8, 48, 48)]), 64, 64)
    assert [(kinds[grid[:, 2] == stride] == POSITIVE).sum() for stride in (8, 16, 32)] == [4, 4, 0]
    # 80: stride 16's, and almost stride 8's and stride 32's.
    kinds, _ = assign(np.stack([face(24, 24, 80, 80)]), 128, 128)
    grid = cell_grid(128, 128)
    assert [np.unique(kinds[grid[:, 2] == stride]).tolist() for stride in (8, 16, 32)] == [
        [IGNORED, NEGATIVE],
        [NEGATIVE, POSITIVE],
        [IGNORED, NEGATIVE],
    ]


def test_what_may_be_a_face_is_ignored() -> None:
    kinds, _ = assign(np.stack([face(8, 8, 48, 48, 0), face(12, 12, 16, 16)]), 64, 64)
    grid = cell_grid(64, 64)
    inside = (np.abs(grid[:, :2] - 32) < 24).all(1)
    assert (kinds == POSITIVE).sum() == 1
    assert set(kinds[inside].tolist()) == {IGNORED, POSITIVE}
    assert (kinds[grid[:, 0] > 56] == NEGATIVE).all()


def test_the_smaller_face_is_in_front() -> None:
    small, large = face(24, 24, 16, 16), face(8, 8, 48, 48)
    for faces in ((small, large), (large, small)):
        kinds, targets = assign(np.stack(faces), 64, 64)
        grid = cell_grid(64, 64)
        at = (grid == (28, 28, 8)).all(1)
        assert kinds[at] == POSITIVE
        assert targets[at, 2] == 16


def test_box_agreement() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 10, 10], [20, 0, 10, 10]])
    iou, generalised = box_agreement(a, b)
    torch.testing.assert_close(iou, torch.tensor([1, 1 / 3, 0]))
    torch.testing.assert_close(generalised, torch.tensor([1, 1 / 3, -1 / 3]))


def test_loss_by_hand() -> None:
    grid = torch.tensor([[4.0, 4, 8], [12, 4, 8], [20, 4, 8]])
    kinds = torch.tensor([[POSITIVE, NEGATIVE, IGNORED]], dtype=torch.int8)
    targets = torch.zeros(1, 3, 14)
    targets[0, 0] = torch.tensor([0.0, 0, 8, 8, *[4] * 10])
    cells = torch.zeros(1, 3, 15)
    terms = detection_loss(cells, kinds, targets, grid)
    # The box is right: only the confidence, a half where 1 and 0 are wanted, is wrong.
    assert terms["box"].item() == pytest.approx(0, abs=1e-6)
    assert terms["place"].item() == pytest.approx(0, abs=1e-6)
    assert terms["landmarks"].item() == pytest.approx(0, abs=1e-6)
    assert terms["score"].item() == pytest.approx(2 * 0.25 * np.log(2), rel=1e-5)
    cells[0, 0, 1] = 1.0  # one stride to the right: no overlap, a hull of 16 x 8, and landmarks 8 pixels aside
    terms = detection_loss(cells, kinds, targets, grid)
    assert terms["box"].item() == pytest.approx(1, rel=1e-5)
    assert terms["landmarks"].item() == pytest.approx((8 / 32 - 0.01 / 2) / 2, rel=1e-5)
    assert terms["place"].item() == pytest.approx(0.5, rel=1e-5)
    wanted = {"score": 1, "box": 2, "place": 3, "landmarks": 30}
    assert terms["total"].item() == pytest.approx(sum(weight * terms[name].item() for name, weight in wanted.items()))


def test_loss_without_a_face_is_finite() -> None:
    cells = torch.zeros(2, 3, 15, requires_grad=True)
    grid = torch.tensor([[4.0, 4, 8]] * 3)
    terms = detection_loss(cells, torch.zeros(2, 3, dtype=torch.int8), torch.zeros(2, 3, 14), grid)
    terms["total"].backward()
    assert terms["total"].item() == pytest.approx(6 * 0.25 * np.log(2), rel=1e-5)
    assert torch.isfinite(cells.grad).all()


def test_network() -> None:
    network = FaceCells().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) < 120_000
    with torch.no_grad():
        values = network(torch.zeros(2, 3, 64, 96))
        logits = network.cells(torch.zeros(2, 3, 64, 96))
    assert values.shape == (2, len(cell_grid(64, 96)), 15)
    torch.testing.assert_close(values[..., 0], logits[..., 0].sigmoid())
    torch.testing.assert_close(values[..., 1:], logits[..., 1:])


def test_the_order_of_cells_is_that_of_the_grid() -> None:
    """A network whose cells say where they are: it can only be right if both count alike."""
    network = FaceCells().eval()
    for head, stride in zip(network.heads, (8, 16, 32), strict=True):

        def places(x: torch.Tensor, stride: int = stride) -> torch.Tensor:
            rows, columns = ((torch.arange(n) + 0.5) * stride for n in x.shape[2:])
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            return torch.stack([x, y, 0 * x + stride])[None]

        head.forward = places  # type: ignore[method-assign]
    with torch.no_grad():
        values = network.cells(torch.zeros(1, 3, 64, 96))[0].numpy()
    np.testing.assert_array_equal(values, cell_grid(64, 96))


def test_match() -> None:
    truth = np.stack([face(0, 0, 10, 10), face(100, 0, 10, 10, 0), face(200, 0, 10, 10)])
    found = np.stack([face(1, 0, 10, 10, 0.5), face(0, 0, 10, 10, 0.9), face(101, 0, 10, 10, 0.8), face(50, 0, 9, 9)])
    kinds, partners = match(found, truth)
    assert kinds.tolist() == [FALSE, TRUE, NEITHER, FALSE]
    assert partners.tolist() == [1, 2, -1]
    kinds, partners = match(found[:0], truth)
    assert (kinds.tolist(), partners.tolist()) == ([], [-1] * 3)
    assert match(found, truth[:0])[0].tolist() == [FALSE] * 4


def test_confidence_at_a_precision() -> None:
    confidences = np.array([0.9, 0.2, 0.8, 0.7, 0.6, 0.5])
    kinds = np.array([TRUE, FALSE, TRUE, FALSE, NEITHER, TRUE])
    assert confidence_at(1.0, confidences, kinds) == 0.8
    assert confidence_at(0.75, confidences, kinds) == 0.5
    assert confidence_at(0.5, confidences, kinds) == 0.2
    assert confidence_at(0.9, np.array([0.9]), np.array([FALSE])) == 1


def test_a_network_learns_a_few_scenes(labelled: Path) -> None:
    scenes = SceneDataset(read_photos(labelled)[0], 8, 64)
    items = [scenes[0, index] for index in range(8)]
    images, kinds, targets = (torch.stack([item[key] for item in items]) for key in ("image", "kinds", "targets"))
    torch.manual_seed(0)
    network, grid = FaceCells(), torch.from_numpy(cell_grid(64, 64))
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    history = []
    for _ in range(60):
        terms = detection_loss(network.cells(images / 127.5 - 1), kinds, targets, grid)
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
        history.append({name: value.item() for name, value in terms.items()})
    for name in ("score", "box", "place", "landmarks"):
        assert history[-1][name] < 0.5 * history[0][name], name


def recipe(folder: Path, **training: object) -> Path:
    """A recipe that trains in seconds."""
    settings = {"epochs": 2, "batch_size": 8, "optimiser": "adamw", "groups": [{"lr": 1.0e-2}], "save_every": 1}
    sections = {
        "card": {"licence": "Apache-2.0"},
        "prepare": {"source": "photos", "landmarks": "known.npz", "validation": 0.3, "test": 0.0},
        "scenes": {"teacher": "teacher", "size": 64, "scenes": 32, "validation_scenes": 8},
        "training": settings | training,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def fit(folder: Path, recipe_path: Path, out: Path) -> str:
    result = CliRunner().invoke(app, ["fit", "detector", str(recipe_path), "--data", str(folder), "--out", str(out)])
    assert result.exit_code == 0, result.output
    return result.output


def test_training_resumes_exactly(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.detector.photos, "FaceDetector", Teacher)
    path = recipe(tmp_path)
    printed = fit(tmp_path, path, tmp_path / "whole")
    weights = Path(printed.strip().splitlines()[-1])
    assert weights == tmp_path / "whole" / "weights.safetensors"
    with safe_open(weights, framework="pt") as file:
        card = yaml.safe_load(file.metadata()[METADATA_KEY])
    assert card["licence"] == "Apache-2.0"
    assert card["training_commit"]

    computed, left = train.detector.fit.detection_loss, [6 + 1]

    def stop(*arguments: torch.Tensor) -> dict[str, torch.Tensor]:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return computed(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train.detector.fit, "detection_loss", stop)
        CliRunner().invoke(
            app, ["fit", "detector", str(path), "--data", str(tmp_path), "--out", str(tmp_path / "parts")]
        )
    assert not (tmp_path / "parts/weights.safetensors").exists()
    fit(tmp_path, path, tmp_path / "parts")
    whole, parts = (read_state(tmp_path / name / "fit/last.safetensors") for name in ("whole", "parts"))
    for key, value in whole.items():
        torch.testing.assert_close(value, parts[key], rtol=0, atol=0)


def test_a_gpu_waits_for_nothing(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.detector.photos, "FaceDetector", Teacher)
    settings = yaml.safe_load(recipe(tmp_path).read_text())
    with steps_without_waiting(monkeypatch):
        train.detector.fit.fit_detector(settings, tmp_path, tmp_path / "run")


def test_confidence_is_shifted(labelled: Path) -> None:
    found, _ = read_photos(labelled)
    network = FaceCells()
    before = [head.face[-1].bias.item() for head in network.heads]
    set_confidence(network, SceneDataset(found, 2, 64), 0.98)
    shifts = [head.face[-1].bias.item() - start for head, start in zip(network.heads, before, strict=True)]
    # A fresh network finds nothing, so nothing is trusted: from a confidence of 1, all but, on.
    np.testing.assert_allclose(shifts, np.log(CONFIDENCE / (1 - CONFIDENCE)) - np.log(1e6), atol=0.05)


def test_the_recipe_keeps_the_test_people_of_fiqa_nano() -> None:
    detector, nano = read_recipe("fiqa-detector"), read_recipe("fiqa-nano")
    for key in ("sources", "test", "validation"):
        assert detector["prepare"][key] == nano["prepare"][key]

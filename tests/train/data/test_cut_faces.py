"""Faces that a picture's edge cuts, and faces that are moved."""

from pathlib import Path

import cv2
import numpy as np

from train.data.dataset import CutFaces
from train.data.manifest import make_manifest
from train.degradations.framing import cut, move

FACE = np.full((112, 112, 3), 200, np.uint8)


def test_a_cut_takes_the_edge_and_leaves_the_middle() -> None:
    rng = np.random.default_rng(0)
    blackened = []
    for _ in range(200):
        result = cut(FACE, rng)
        assert (result[40:72, 40:72] == 200).all()
        blackened.append(float((result == 0).mean()))
    assert 0.4 < np.mean(np.array(blackened) > 0) < 0.7  # the others repeat the edge, or lose nothing
    assert max(blackened) < 0.7


def test_a_move_is_small() -> None:
    spot = np.zeros_like(FACE)
    cv2.circle(spot, (56, 56), 3, (255, 255, 255), -1)
    rng = np.random.default_rng(0)
    centres = []
    for _ in range(100):
        rows, columns = np.nonzero(move(spot, 1.0, rng)[..., 0] > 128)
        centres.append((rows.mean(), columns.mean()))
    assert np.allclose(np.mean(centres, axis=0), 56, atol=0.6)
    assert 0.8 < np.std(centres) < 1.7


def test_what_is_random_depends_on_seed_epoch_and_row_alone(tmp_path: Path) -> None:
    face = np.random.default_rng(0).integers(0, 256, FACE.shape, dtype=np.uint8)
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), face)
    manifest = make_manifest([{"path": f"{name}.png", "identity": name} for name in "ab"], tmp_path)

    def images(seed: int = 0, cuts: float = 1.0, moves: float = 1.0) -> list[np.ndarray]:
        faces = CutFaces(manifest, [0, 1], {}, cuts, moves, seed=seed)
        return [faces[epoch, index]["image"].numpy() for epoch in (0, 1) for index in (0, 1)]

    first = images()
    assert all(np.array_equal(a, b) for a, b in zip(first, images(), strict=True))
    assert len({image.tobytes() for image in first + images(seed=1)}) == 8
    plain = images(cuts=0.0, moves=0.0)
    assert all(np.array_equal(image, face[..., ::-1].transpose(2, 0, 1)) for image in plain)

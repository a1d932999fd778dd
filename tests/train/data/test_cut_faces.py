"""A data set of faces of which some are cut and all are moved."""

from pathlib import Path

import cv2
import numpy as np

from train.data.dataset import CutFaces
from train.data.manifest import make_manifest


def test_crops_are_black_outside_their_picture_in_half_of_the_epochs(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((112, 112, 3), 200, np.uint8))
    edge = "20 -9 130 -9 130 130 20 130"
    rows = [
        {"path": "a.png", "edge": edge, "degradation": ""},
        {"path": "a.png", "edge": edge, "degradation": "misalignment=0.5"},
        {"path": "a.png", "edge": "", "degradation": ""},
    ]
    faces = CutFaces(make_manifest(rows, tmp_path), [0, 1, 2], {}, cuts=0.0, moves=0.0)
    black = np.array(
        [[(faces[epoch, index]["image"].numpy() == 0).mean() for index in range(3)] for epoch in range(60)]
    )
    assert set(black[:, 0]) == {0.0, 20 / 112}
    assert 0.3 < (black[:, 0] > 0).mean() < 0.7
    assert (black[:, 1:] == 0).all()


def test_what_is_random_depends_on_seed_epoch_and_row_alone(tmp_path: Path) -> None:
    face = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
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

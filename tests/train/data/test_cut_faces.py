"""A data set of faces of which some are cut and all are moved."""

from pathlib import Path

import cv2
import numpy as np

from train.data.dataset import CutFaces
from train.data.manifest import make_manifest


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

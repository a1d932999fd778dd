"""Cells -> faces, compared with values worked out by hand; files that differ from their card."""

from pathlib import Path

import numpy as np
import pytest

from sdk import DeviceError, ModelError
from sdk.detection.networks import FaceCells, cell_grid, decode
from sdk.models.loading import load_model
from tests.support.tiny_models import tiny_card, tiny_model


def test_grid() -> None:
    grid = cell_grid(33, 20)  # padded to 64 x 32
    assert grid.dtype == np.float32
    assert np.unique(grid[:, 2], return_counts=True)[1].tolist() == [32, 8, 2]
    assert grid[[0, 1, 4, 31]].tolist() == [[4, 4, 8], [12, 4, 8], [4, 12, 8], [28, 60, 8]]
    assert grid[32:34].tolist() == [[8, 8, 16], [24, 8, 16]]
    assert grid[-2:].tolist() == [[16, 16, 32], [16, 48, 32]]


def test_decode() -> None:
    cell = np.zeros((1, 15), np.float32)
    cell[0, :5] = 0.9, 0.5, -0.25, np.log(2), np.log(3)
    cell[0, 5:9] = -0.25, -0.5, 0.25, 0
    (row,) = decode(cell, np.array([[100, 60, 16]], np.float32))
    # The centre is at 108, 56; the box is 32 x 48.
    np.testing.assert_allclose(row[:4], (92, 32, 32, 48), rtol=1e-6)
    np.testing.assert_allclose(row[4:8], (100, 32, 116, 56), rtol=1e-6)
    np.testing.assert_allclose(row[8:14], (108, 56) * 3)
    assert row[14] == np.float32(0.9)


def test_a_box_without_bounds_stays_finite() -> None:
    cell = np.full((1, 15), 1e4, np.float32)
    assert np.isfinite(decode(cell, np.array([[4, 4, 8]], np.float32))).all()


def test_a_file_that_gives_something_else(tmp_path: Path) -> None:
    path = tmp_path / "quality.onnx"
    path.write_bytes(tiny_model(tiny_card(task="detection", variant="fiqa-detector")).SerializeToString())
    with pytest.raises(ModelError, match=r"quality\.onnx gives .*quality.*, wanted 'quality' with 15 values a cell"):
        FaceCells(load_model(path), 0.5)


class Session:
    """Replaces a network's session; returns or raises a given answer."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def run(self, *_: object) -> list[object]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer]


@pytest.fixture
def detector() -> FaceCells:
    return FaceCells(load_model("fiqa-detector"), 0.5)


IMAGE = np.zeros((64, 64, 3), np.uint8)
CELLS = np.zeros((1, len(cell_grid(64, 64)), 15), np.float32)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (RuntimeError("no kernel"), ModelError, "cannot run the model on cpu: no kernel"),
        (RuntimeError("std::bad_alloc"), DeviceError, "not enough memory"),
        (CELLS[:, 1:], ModelError, r"gives \(1, 83, 15\) for an image, wanted \(1, 84, 15\)"),
        (CELLS[0], ModelError, r"gives \(84, 15\)"),
        (np.where(np.arange(15) == 0, np.nan, CELLS), ModelError, "confidences that are no numbers"),
    ],
)
def test_what_a_network_gives_wrong(answer: object, error: type[Exception], words: str, detector: FaceCells) -> None:
    detector._session = Session(answer)
    with pytest.raises(error, match=words):
        detector.find(IMAGE)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("column", [1, 3, 14])
def test_faces_at_impossible_places_are_left_out(
    column: int, wrong: float, detector: FaceCells, caplog: pytest.LogCaptureFixture
) -> None:
    cells = CELLS.copy()
    cells[0, [3, 40], 0] = 0.9
    cells[0, 3, column] = wrong
    detector._session = Session(cells)
    found = detector.find(IMAGE)
    assert np.isfinite(found).all()
    if not (column == 3 and wrong in (np.inf, 1e30)):  # the logarithm of a size is bounded
        assert len(found) == 1
        assert "impossible coordinates for 1 of 2 faces" in caplog.text

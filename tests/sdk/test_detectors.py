"""Cells -> faces, against values worked out by hand; and files that are not what their card says."""

from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_card, tiny_model

from sdk import ModelError
from sdk.detectors import FaceCells, cell_grid, decode, suppress
from sdk.models.loading import load_model


def test_grid() -> None:
    grid = cell_grid(33, 20)  # seen as 64 x 32
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
    # The middle is at 108, 56; the box is 32 x 48.
    np.testing.assert_allclose(row[:4], (92, 32, 32, 48), rtol=1e-6)
    np.testing.assert_allclose(row[4:8], (100, 32, 116, 56), rtol=1e-6)
    np.testing.assert_allclose(row[8:14], (108, 56) * 3)
    assert row[14] == np.float32(0.9)


def test_a_box_without_bounds_stays_finite() -> None:
    cell = np.full((1, 15), 1e4, np.float32)
    assert np.isfinite(decode(cell, np.array([[4, 4, 8]], np.float32))).all()


def row(x: float, confidence: float, width: float = 10) -> list[float]:
    """A face whose landmarks are at its corner."""
    return [x, 0, width, 10, *[x, 0] * 5, confidence]


def test_suppress() -> None:
    # Shares of 5/15 (one face) and 4/16 (another).
    rows = np.array([row(100, 0.3), row(5, 0.2), row(0, 0.6), row(-6, 0.5)], np.float32)
    found = suppress(rows)
    np.testing.assert_allclose(found[:, 0], (1.25, -6, 100), rtol=1e-6)
    np.testing.assert_allclose(found[:, 12], (1.25, -6, 100), rtol=1e-6)
    np.testing.assert_allclose(found[:, 14], (0.6, 0.5, 0.3))
    assert suppress(np.zeros((0, 15), np.float32)).shape == (0, 15)
    assert len(suppress(np.array([row(0, 0.5, width=0)], np.float32))) == 1


def test_a_file_that_gives_something_else(tmp_path: Path) -> None:
    path = tmp_path / "quality.onnx"
    path.write_bytes(tiny_model(tiny_card(task="detection", variant="fiqa-detector")).SerializeToString())
    with pytest.raises(ModelError, match=r"quality\.onnx gives .*quality.*, wanted 'quality' with 15 values a cell"):
        FaceCells(load_model(path), 0.5)

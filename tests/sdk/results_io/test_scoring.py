"""score_files: what users call for many files."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from sdk import InputError, QualityScorer, score_files
from tests.support.tiny_models import faces


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Aligned crops, one of them in a sub-folder, and a text."""
    place = tmp_path / "crops"
    (place / "below").mkdir(parents=True)
    for name, crop in zip(("1.png", "2.png", "below/3.png"), faces(3), strict=True):
        cv2.imwrite(str(place / name), crop)
    (place / "notes.txt").write_text("no image")
    return place


def test_files_and_folders(folder: Path, tiny_path: Path) -> None:
    with QualityScorer(tiny_path) as scorer:
        rows = list(score_files(scorer, [str(folder / "2.png"), folder], aligned=True))
        expected = scorer.score_batch(faces(3))
    found = [(faces[0].path.relative_to(folder).as_posix(), faces[0].score) for faces in rows]
    assert sorted(name for name, _ in found[1:]) == ["1.png", "2.png", "below/3.png"]
    scores = dict(found)
    np.testing.assert_allclose([scores[name] for name in ("1.png", "2.png", "below/3.png")], expected, atol=1e-6)
    assert found[0][0] == "2.png"


def test_a_folder_without_an_image(tmp_path: Path, tiny_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with QualityScorer(tiny_path) as scorer, pytest.raises(InputError, match="no image in"):
        list(score_files(scorer, [tmp_path / "empty"]))


def test_limits_are_those_of_the_scorer(folder: Path, tiny_path: Path) -> None:
    with QualityScorer(tiny_path, max_pixels=112 * 112 - 1) as scorer:
        assert scorer.max_pixels == 112 * 112 - 1
        for aligned in (True, False):
            ((row,),) = score_files(scorer, [folder / "1.png"], aligned=aligned)
            assert row.score is None
            assert "112 x 112" in row.error

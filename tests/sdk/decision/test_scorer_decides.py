"""A scorer with a calibration: quality and acceptance of each face."""

import pickle
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from sdk import Calibration, Face, QualityScorer
from sdk.decision.calibration import Threshold
from sdk.errors import InputError

POINTS = np.array([[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]], np.float32)


class Everywhere:
    """A detector that finds one face in each picture."""

    def detect(self, image: np.ndarray) -> list[Face]:
        return [Face((0, 0, 112, 112), POINTS, 1.0)]


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)


def calibration(tiny_path: Path, score: float) -> Calibration:
    """One whose curve rises from 20 to 80 around a score, with a point to enrol just above it."""
    digest = sha256(tiny_path.read_bytes()).hexdigest()
    above = Threshold("enrol", "fnmr", 0.01, score + 0.1, score, score + 0.2, 0.1)
    return Calibration("tiny", digest, "judge", scores=(score - 1, score + 1), rates=(0.2, 0.8), thresholds=(above,))


def test_a_face_has_a_quality_and_is_accepted_or_not(tiny_path: Path, picture: np.ndarray, tmp_path: Path) -> None:
    with QualityScorer(tiny_path, detector=Everywhere()) as plain:
        face = plain.assess(picture)[0]
    assert (face.quality, face.accepted, plain.threshold, plain.calibration) == (None, None, None, None)
    found = calibration(tiny_path, face.score)
    found.write(tmp_path / "c.json")
    with QualityScorer(tiny_path, detector=Everywhere(), calibration=tmp_path / "c.json", accept="enrol") as scorer:
        assert scorer.calibration == found
        assert scorer.threshold == pytest.approx(face.score + 0.1)
        decided = scorer.assess(picture)[0]
        assert (decided.score, decided.quality, decided.accepted) == (face.score, 50, False)
        with pickle.loads(pickle.dumps(scorer)) as copy:
            assert copy.assess(picture)[0].quality == 50
    with QualityScorer(tiny_path, detector=Everywhere(), accept=face.score) as scorer:
        assert (scorer.assess(picture)[0].quality, scorer.assess(picture)[0].accepted) == (None, True)


def test_what_does_not_fit_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("c.json").write_text("{}")
    good = calibration(tiny_path, 0.5)
    wrong: list[tuple[dict[str, object], str]] = [
        ({"accept": "enrol"}, "there is no calibration"),
        ({"accept": "identify", "calibration": good}, "has no point 'identify'"),
        ({"accept": float("nan")}, "accept is nan"),
        ({"accept": True}, "accept is True"),
        ({"accept": 10**400}, "accept is 1000"),
        ({"calibration": 3}, "calibration is 3"),
        ({"calibration": tmp_path / "c.json"}, "is no calibration of fiqa"),
        ({"calibration": Calibration("other")}, "scores of two models cannot be compared"),
        ({"calibration": Calibration("tiny", "0" * 64)}, "scores of two models cannot be compared"),
    ]
    for options, words in wrong:
        with pytest.raises(InputError, match=words):
            QualityScorer(tiny_path, **options)  # type: ignore[arg-type]

"""The proof itself: it must be able to fail."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.proof import compare as verify

ZEROS = np.zeros(34, np.float32)


@pytest.fixture
def one_runtime(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.float32]]:
    """Replace the runtimes by one that gives what the test puts into this list."""
    given: list[NDArray[np.float32]] = []
    monkeypatch.setattr(verify, "scores_apart", lambda *_: given)
    return given


def test_agreement_by_batch(one_runtime: list[NDArray[np.float32]], faces: NDArray[np.uint8]) -> None:
    one_runtime += [ZEROS, ZEROS + 1e-5, ZEROS - 9.96e-5]
    found = verify.compare(Path("file"), faces, ZEROS, ("fake",))
    figures = verify.figures(found)
    assert figures == {
        "fake, batch 1": 0.0, "fake, batch 3": 1e-5, "fake, batch 16": 1e-4,
        "mean": 1e-4, "shift": -1e-4, "spearman": 0.0,
    }  # fmt: skip
    assert verify.failures_of(found, "fp32") == ()


@pytest.mark.parametrize("wrong", [1.02e-4, -0.5, np.nan, np.inf])
def test_one_wrong_score_fails(wrong: float, one_runtime: list[NDArray[np.float32]], faces: NDArray[np.uint8]) -> None:
    bad = ZEROS.copy()
    bad[7] = wrong
    one_runtime += [ZEROS, bad, bad]
    failures = verify.failures_of(verify.compare(Path("file"), faces, ZEROS, ("fake",)), "fp32")
    assert len(failures) == 1
    assert failures[0].startswith("fake, batch 3: ")

"""The picture with boxes and what is said of each face."""

import numpy as np
import pytest

from sdk import VideoScorer
from sdk.video import Counters
from sdk.video.overlay import ACCEPTED, REJECTED, Overlay
from tests.support.squares import BlueScorer, SquareDetector, frame


@pytest.mark.parametrize(
    ("blue", "reasons", "colour", "label"),
    [
        (0.25, True, REJECTED, "track 1  quality 25  too dark"),
        (0.25, False, REJECTED, "track 1  quality 25  rejected"),
        (0.75, True, ACCEPTED, "track 1  quality 75"),
    ],
)
def test_a_rejected_face_has_its_main_reason(
    monkeypatch: pytest.MonkeyPatch, blue: float, reasons: bool, colour: tuple[int, int, int], label: str
) -> None:
    written: list[tuple[str, tuple[int, int, int]]] = []
    monkeypatch.setattr(
        "sdk.video.overlay._label", lambda image, text, corner, size, colour: written.append((text, colour))
    )
    scorer, overlay = BlueScorer(accept=0.5, reasons=reasons), Overlay()
    with VideoScorer([frame((100, 60, 60, blue))], scorer, SquareDetector()) as video:
        result = next(video)
        overlay.note(result)
        drawn = overlay.draw(result, Counters())
    assert written[0] == (label, colour)
    assert np.array_equal(drawn[60, 130], colour)  # the box
    assert not np.array_equal(result.image[60, 130], colour)

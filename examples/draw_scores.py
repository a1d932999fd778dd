"""Draw the score of a good face and of its damaged copies: `python examples/draw_scores.py OUT.png`.

This makes the picture of the README: one column for each kind of damage, one row for each grade. The frame's colour
goes from red (score 0) to green (score 1).
"""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from media.make_bad_copies import GRADES, make_bad_copies
from numpy.typing import NDArray

from fiqa import QualityScorer

FONT = cv2.FONT_HERSHEY_SIMPLEX


def main() -> None:
    """Score the faces and write the picture."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} OUT.png")
    with tempfile.TemporaryDirectory() as folder, QualityScorer() as scorer:
        faces = {path.stem: cv2.imread(str(path)) for path in make_bad_copies(Path(folder))}
        scores = dict(zip(faces, scorer.score_batch(list(faces.values())).tolist(), strict=True))
    kinds = list(dict.fromkeys(name.rpartition("-")[0] for name in faces if name != "good"))
    rows = [[tile(faces["good"], scores["good"], kind.replace("_", " ")) for kind in kinds]]
    rows += [[tile(faces[f"{kind}-{grade}"], scores[f"{kind}-{grade}"]) for kind in kinds] for grade in GRADES]
    cv2.imwrite(sys.argv[1], np.vstack([np.hstack(row) for row in rows]))


def tile(face: NDArray[np.uint8], score: float, title: str = "") -> NDArray[np.uint8]:
    """Draw a face with its score in a coloured frame, under an optional title."""
    share = min(max(score, 0.0), 1.0)
    colour = (40, round(60 + 150 * share), round(220 * (1 - share)))
    framed = cv2.copyMakeBorder(face, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=colour)
    cv2.rectangle(framed, (4, 96), (52, 116), colour, -1)
    cv2.putText(framed, f"{score:.2f}", (8, 111), FONT, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    if title:
        framed = cv2.copyMakeBorder(framed, 18, 0, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        cv2.putText(framed, title, (4, 13), FONT, 0.4, (30, 30, 30), 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(framed, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))


if __name__ == "__main__":
    main()

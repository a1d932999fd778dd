"""Draw how scores of several people fall: `python examples/draw_people.py OUT.jpg PHOTO...`.

Makes the picture of README from photos with one face each. A column is a person, a row a fault of the photo. The colour
goes from red (0) to green (1).
"""

import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa import FaceQuality, QualityScorer, align, load_image

Image = NDArray[np.uint8]
FAR = 20
"""Width of a face that is far away, pixels."""
SIDE, BAR, LABEL = 128, 22, 112
"""Pixels of the picture: a face, the bar under it, the names of the rows."""
FONT, WHITE, DARK = cv2.FONT_HERSHEY_SIMPLEX, (255, 255, 255), (50, 50, 50)


def main() -> None:
    """Score, draw, write."""
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} OUT.jpg PHOTO...")
    columns = []
    with QualityScorer() as scorer:
        for path in sys.argv[2:]:
            photo, face = load_image(path), scorer.assess(path)[0]
            copies = faulty(photo, face)
            scores = scorer.score_batch([align(copy, face.landmarks) for copy in copies.values()])
            shown = around(list(copies.values()), face)
            columns.append(np.vstack([tile(*each) for each in zip(shown, scores, strict=True)]))
    names = np.vstack([label(name) for name in copies])
    cv2.imwrite(sys.argv[1], np.hstack([names, *columns]), [cv2.IMWRITE_JPEG_QUALITY, 92])


def faulty(photo: Image, face: FaceQuality) -> dict[str, Image]:
    """Return the photo as it is, and with the faults that cameras and people bring."""
    width, full = face.box[2], photo.shape[1::-1]
    length = round(width / 4)
    grain = np.random.default_rng(0).normal(0, 5, photo.shape)
    small = cv2.resize(photo, None, fx=FAR / width, fy=FAR / width, interpolation=cv2.INTER_AREA)
    hidden = with_glasses(photo, face)
    return {
        "as taken": photo,
        "far away": cv2.resize(small, full, interpolation=cv2.INTER_CUBIC),
        "moving": cv2.filter2D(photo, -1, np.full((1, length), 1 / length)),
        "in the dark": np.clip(photo * 0.12 + grain, 0, 255).astype(np.uint8),
        "eyes hidden": hidden,
    }


def with_glasses(photo: Image, face: FaceQuality) -> Image:
    """Return the photo with dark glasses drawn over the eyes."""
    drawn, width = photo.copy(), face.box[2]
    eyes = [tuple(eye) for eye in np.round(face.landmarks[:2]).astype(int).tolist()]
    for eye in eyes:
        cv2.ellipse(drawn, eye, (round(width / 6), round(width / 7.5)), 0, 0, 360, (25, 25, 25), -1, cv2.LINE_AA)
    cv2.line(drawn, *eyes, (25, 25, 25), round(width / 25), cv2.LINE_AA)
    return drawn


def around(photos: list[Image], face: FaceQuality) -> list[Image]:
    """Return the square around the face, at the side of the picture."""
    x, y, width, height = face.box
    side = round(1.25 * max(width, height))
    left, top = max(round(x + width / 2 - side / 2), 0), max(round(y + height / 2 - side / 2), 0)
    cut = [photo[top : top + side, left : left + side] for photo in photos]
    return [cv2.resize(each, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for each in cut]


def tile(face: Image, score: float) -> Image:
    """Return a face above a bar as long as its score, with the score beside it."""
    share = min(max(float(score), 0.0), 1.0)
    bar = np.full((BAR, SIDE, 3), 255, np.uint8)
    colour = (40, round(60 + 120 * share), round(210 * (1 - share)))
    cv2.rectangle(bar, (0, 5), (84, BAR - 6), (232, 232, 232), -1)
    cv2.rectangle(bar, (0, 5), (round(84 * share), BAR - 6), colour, -1)
    cv2.putText(bar, f"{max(score, 0):.2f}", (90, BAR - 7), FONT, 0.45, DARK, 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(np.vstack([face, bar]), 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=WHITE)


def label(name: str) -> Image:
    """Return the name of a row."""
    field = np.full((SIDE + BAR + 6, LABEL, 3), 255, np.uint8)
    cv2.putText(field, name, (6, SIDE // 2), FONT, 0.5, DARK, 1, cv2.LINE_AA)
    return field


if __name__ == "__main__":
    main()

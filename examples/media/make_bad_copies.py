"""Make graded bad copies of the astronaut's face: `python examples/media/make_bad_copies.py OUT`.

Writes aligned 112 x 112 crops: `good.png`, and `<kind>-<grade>.png` for every kind of damage, grade 25 to 100 percent.
`fiqa score --aligned OUT` then shows what each costs. No detector is needed: the face's landmarks stand below.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from sdk import align, load_image
from train import DEGRADATIONS, degrade

PHOTO = Path(__file__).with_name("astronaut.jpg")
LANDMARKS = ((201.7, 105.0), (245.3, 105.3), (220.7, 126.8), (203.7, 144.8), (242.0, 145.0))
GRADES = (25, 50, 75, 100)
SEED = 1


def make_bad_copies(out: Path) -> list[Path]:
    """Write all copies into `out`, which is made when it is not there; returns their paths, the good one first."""
    out.mkdir(parents=True, exist_ok=True)
    face = align(load_image(PHOTO), LANDMARKS)
    images = {"good": face}
    for kind in DEGRADATIONS:
        for grade in GRADES:
            # The same seed for every grade: a stronger blur of the same direction, a larger patch in the same place.
            images[f"{kind}-{grade}"] = degrade(face, [(kind, grade / 100)], np.random.default_rng(SEED))
    for name, image in images.items():
        cv2.imwrite(str(out / f"{name}.png"), image)
    return [out / f"{name}.png" for name in images]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} OUT")
    for path in make_bad_copies(Path(sys.argv[1])):
        print(path)

"""Find and score every face of a photo: `python examples/score_one.py PHOTO`."""

import sys

from fiqa import FiqaError, QualityScorer

if len(sys.argv) != 2:
    sys.exit(f"usage: {sys.argv[0]} PHOTO")
try:
    with QualityScorer() as scorer:
        faces = scorer.assess(sys.argv[1])
except FiqaError as error:
    sys.exit(str(error))
for face in faces:
    x, y, width, height = (round(value) for value in face.box)
    print(f"score {face.score:.3f}  face at {x}, {y}, {width} x {height} pixels, detected with {face.confidence:.2f}")
if not faces:
    print("no face found")

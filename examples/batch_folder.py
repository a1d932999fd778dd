"""Score a folder of aligned 112 x 112 faces, best first: `python examples/batch_folder.py FOLDER`."""

import sys
from pathlib import Path

from fiqa import FiqaError, QualityScorer, load_image

if len(sys.argv) != 2:
    sys.exit(f"usage: {sys.argv[0]} FOLDER")
paths = sorted(path for path in Path(sys.argv[1]).iterdir() if path.suffix.lower() in (".jpg", ".png"))
try:
    with QualityScorer() as scorer:
        scores = scorer.score_batch([load_image(path) for path in paths])
except FiqaError as error:
    sys.exit(str(error))
for score, path in sorted(zip(scores, paths, strict=True), reverse=True):
    print(f"{score:.3f} {path.name}")

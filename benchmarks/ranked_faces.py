"""Draw the faces that a model ranks lowest and highest.

    python benchmarks/ranked_faces.py FOLDER OUT --model fiqa-nano --copies 3

It takes the largest face of each picture below FOLDER, and damaged copies of it as `fiqa-train prepare` makes them. For
each model `OUT/<model>.png` has two rows of the lowest scores and two rows of the highest.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
from scorers import add_model_options, largest_face, load_scorers, score_faces

from fiqa import FaceDetector
from sdk.images.folders import images_below
from train.data.manifest import make_manifest
from train.data.prepare import copy_damages
from train.degradations.graded import degrade
from train.evaluation.results.plots import contact_sheet


def main() -> None:
    """Cut, damage and score the faces, draw a sheet for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    add_model_options(parser)
    parser.add_argument("--detector", default="fiqa-detector", help="name in the catalogue, or model file")
    parser.add_argument("--copies", type=int, default=3, help="damaged copies of each face (3)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (0)")
    options = parser.parse_args()
    models, detector, crops = load_scorers(options), FaceDetector(options.detector), []
    for path in images_below(options.folder):
        crop = largest_face(detector, path)
        if crop is None:
            continue
        name = path.relative_to(options.folder).as_posix()
        crops.append(crop)
        for copy in range(1, options.copies + 1):
            crops.append(degrade(crop, *copy_damages(name, copy, options.copies, options.seed)))
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{index}.png" for index in range(len(crops))]
        for name, crop in zip(names, crops, strict=True):
            cv2.imwrite(str(Path(folder, name)), crop)
        manifest = make_manifest([{"path": name} for name in names], Path(folder))
        options.out.mkdir(parents=True, exist_ok=True)
        for model, scores in score_faces(models, np.stack(crops)).items():
            contact_sheet(manifest, scores, options.out / f"{Path(model).name}.png")


if __name__ == "__main__":
    main()

"""What benchmarks of scores share: the options `--model` and `--lightqnet`, and the largest face of a picture."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from alignment_robustness import Scorer, load_scorer
from numpy.typing import NDArray

from fiqa import FaceDetector, align, load_image
from sdk.commands.console import progress_bar
from train.methods.baselines import LightQNet

CHUNK = 64
"""Faces that a model scores at once."""


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add `--model` and `--lightqnet`."""
    parser.add_argument(
        "--model", action="append", help="name in the catalogue, model file or checkpoint; may be repeated (fiqa-nano)"
    )
    parser.add_argument("--lightqnet", type=Path, help="lightqnet-dm100.pb, to compare with LightQNet")


def load_scorers(options: argparse.Namespace) -> dict[str, Scorer]:
    """Load the models of the options. Each takes uint8 BGR crops (N, 112, 112, 3) and returns scores (N,)."""
    models = {model: load_scorer(model) for model in options.model or ["fiqa-nano"]}
    if options.lightqnet is None:
        return models
    lightqnet = LightQNet(options.lightqnet)
    return {**models, "lightqnet": lambda faces: lightqnet(faces, [""] * len(faces))["lightqnet"]}


def score_faces(models: dict[str, Scorer], faces: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Return the scores (N,) of crops (N, 112, 112, 3) by each model."""
    found: dict[str, NDArray[Any]] = {}
    for name, model in models.items():
        parts = []
        with progress_bar(f"scores by {name}", len(faces)) as advance:
            for start in range(0, len(faces), CHUNK):
                parts.append(model(faces[start : start + CHUNK]))
                advance(len(parts[-1]))
        found[name] = np.concatenate(parts).astype(np.float64)
    return found


def largest_face(detector: FaceDetector, path: Path) -> NDArray[np.uint8] | None:
    """Return the aligned crop (112, 112, 3) of the largest face; where there is none, say so and return None."""
    image = load_image(path)
    faces = detector.detect(image)
    if not faces:
        print(f"no face is found in {path}; it is left out\n")
        return None
    return align(image, faces[0].landmarks)

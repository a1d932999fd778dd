"""Train a network of your own, export it, run it: `python examples/own_model.py [OUT.onnx]`.

A toy that shows the steps: a network of 7,000 parameters learns in a few seconds how much noise there is in a face.
Replace network, faces and labels with yours. `fiqa-train` has methods that work. Needs fiqa[export].
"""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from media.make_bad_copies import LANDMARKS, PHOTO
from numpy.typing import NDArray
from torch import nn

from export import add_card, add_front_end, trace_network
from fiqa import FiqaError, ModelCard, QualityScorer, align, load_image

FACES, STEPS, BATCH = 128, 60, 32


def network() -> nn.Module:
    """Return a network: normalised RGB (N, 3, 112, 112) -> quality (N, 1) in [0, 1]."""
    channels, layers = (3, 8, 16, 32), []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 1), nn.Sigmoid())


def add_noise(face: NDArray[np.uint8], share: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Mix a face with noise; a share of 1 is noise alone."""
    return ((1 - share) * face + share * rng.integers(0, 256, face.shape)).astype(np.uint8)


def train(model: nn.Module) -> None:
    """Train the network: quality is 1 minus the share of noise."""
    face, rng = align(load_image(PHOTO), LANDMARKS), np.random.default_rng(0)
    shares = rng.uniform(0, 1, FACES)
    faces = np.stack([add_noise(face, share, rng) for share in shares])
    pixels = torch.from_numpy(faces[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
    wanted = torch.from_numpy(1 - shares).float()[:, None]
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(STEPS):
        chosen = torch.randint(FACES, (BATCH,))
        optimiser.zero_grad()
        nn.functional.mse_loss(model(pixels[chosen]), wanted[chosen]).backward()
        optimiser.step()


def main() -> int:
    """Train, export and run the network; return the exit code."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "own.onnx")
    torch.manual_seed(0)
    model = network()
    train(model)
    card = ModelCard(name="own", licence="Apache-2.0", summary="a toy", training_data="one face, damaged")
    # The file takes uint8 BGR faces: normalisation and colour order are in the graph.
    path.write_bytes(add_card(add_front_end(trace_network(model), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)), card))
    face = align(load_image(PHOTO), LANDMARKS)
    noisy = add_noise(face, 0.8, np.random.default_rng(1))
    try:
        with QualityScorer(path) as scorer:
            good, bad = scorer.score_batch([face, noisy])
            print(f"{path}: {scorer.card.name} on {scorer.device}; good face {good:.3f}, noisy face {bad:.3f}")
    except FiqaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if good > bad else 1


if __name__ == "__main__":
    sys.exit(main())

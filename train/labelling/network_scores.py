"""Scores of a torch network, as labels, and their scale."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdk.errors import InputError
from train.data.dataset import normalised, rgb_images
from train.networks import QualityNetwork, Variant


class NetworkScores:
    """A labeller that scores with a torch network of this project.

    Args:
        name: Column of the scores.
        network: Network in evaluation mode, on the CPU.
        variant: Description of the network, which has its normalisation.
    """

    def __init__(self, name: str, network: QualityNetwork, variant: Variant) -> None:
        self.name, self._network, self._variant = name, network, variant

    @torch.inference_mode()
    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        quality = self._network(normalised(rgb_images(faces), self._variant.mean, self._variant.std))
        return {self.name: quality[:, 0].numpy()}


@torch.no_grad()
def rescale(network: QualityNetwork, low: float, high: float) -> None:
    """Change the last layer, in place, so that a score of `low` becomes 0 and a score of `high` becomes 1.

    Raises:
        InputError: `high` is not above `low`.
    """
    if not high > low:
        raise InputError(f"scores from {low} to {high} have no spread, so no scale; the network has not learned")
    last = network.last_layer
    last.weight.div_(high - low)
    last.bias.sub_(low).div_(high - low)

"""The steps of an export that depend on the network's task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from export.networks import find_task
from export.sources.source import Source
from sdk.models.card import ModelCard
from sdk.models.formats import resolve
from sdk.proof.verify import Agreement

Images = Sequence[NDArray[np.uint8]]
"""Images to verify a file on: uint8 BGR (N, H, W, 3), one array for each size."""

Outputs = Sequence[NDArray[np.float32]]
"""Outputs of the source for `Images`: one array for each size."""


class TaskSteps(Protocol):
    """Steps of one task."""

    def read_images(self, folder: Path | None) -> Images:
        """Return the images that a file is verified on.

        Args:
            folder: Folder that the user gave; None for packaged images.

        Raises:
            InputError: The folder does not hold such images.
        """
        ...

    def load_source(self, name: str, weights: Path | None, embedding: bool = False) -> Source:
        """Read a network.

        Args:
            name: Name of the network.
            weights: File of its weights; None for the packaged or published one.
            embedding: The embedding is a second output; only quality networks can have it.

        Raises:
            FiqaError: The weights cannot be read, or are not of that network.
        """
        ...

    def compare(self, path: Path, card: ModelCard, images: Images, expected: Outputs) -> dict[str, Agreement]:
        """Run a file in every runtime that takes it here, and compare its outputs with the source's.

        Returns:
            Agreements by the name of runtime and batch, or of runtime and size.

        Raises:
            ModelError: A runtime refuses the file or crashes on it.
            DeviceError: A runtime is missing.
        """
        ...

    def figures(self, agreements: dict[str, Agreement]) -> dict[str, float]:
        """Return the figures for the card."""
        ...

    def proof(self, images: Images, expected: Outputs, source_sha256: str) -> bytes | None:
        """Return the file with which `fiqa verify` proves the export on another device; None if it cannot."""
        ...


def find_steps(network: str) -> TaskSteps:
    """Return the steps for a network.

    Raises:
        InputError: No network of that name can be exported.
    """
    steps: TaskSteps = resolve(find_task(network).steps)()
    return steps

"""What a runtime is: one engine that holds one model."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Runtime(Protocol):
    """An engine with a model in it. `run` may be called from several threads at once.

    Attributes:
        device: Where it really runs: `cpu`, `cuda:0`, `tensorrt:0`, `openvino`.
        batch: Most faces that one call takes.
        precision: What it computes in: the card's, or the one that was asked for.
    """

    device: str
    batch: int
    precision: str

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Score faces.

        Args:
            batch: (N, ...) in the layout, type and colour order of the model's card; 1 <= N <= `self.batch`.

        Returns:
            float32 (N,).
        """
        ...

    def close(self) -> None:
        """Let go of the model."""
        ...


def pad_batch(batch: NDArray[Any], size: int) -> NDArray[Any]:
    """A batch of exactly `size`, filled up with zeros; itself where it is that long already."""
    if len(batch) == size:
        return batch
    padded = np.zeros((size, *batch.shape[1:]), batch.dtype)
    padded[: len(batch)] = batch
    return padded

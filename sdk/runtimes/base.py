"""What a runtime is: one engine that holds one model."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Runtime(Protocol):
    """An engine with a model in it. `run` may be called from several threads at once.

    Attributes:
        device: Where it really runs: `cpu`, `cuda:0`.
        batch: Most faces that one call takes.
    """

    device: str
    batch: int

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

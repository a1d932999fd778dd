"""Scores of a quality model of the SDK, as labels."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from sdk import QualityScorer
from sdk.errors import ScoreError
from sdk.models.loading import is_path, load_model
from train.lazy import Lazy


class SDKModel:
    """A labeller that scores with a quality model of the SDK. A face for which the model gives NaN has no label.

    Args:
        model: Name in the catalogue, or path of a model file.
        name: Column of the scores. None takes the name in the model's card.
    """

    one_caller = True

    def __init__(
        self,
        model: Annotated[str, typer.Option(help="Name in the catalogue, or model file.")],
        name: Annotated[str | None, typer.Option(help="New column; by default the name in the model's card.")] = None,
    ) -> None:
        self._scorer = Lazy(partial(QualityScorer, absolute_model(model)))
        self.name = name or load_model(model, task="quality").card.name

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        try:
            return {self.name: self._scorer().score_batch(list(faces))}
        except ScoreError as error:
            return {self.name: error.scores}


def absolute_model(model: str) -> str:
    """Return the name of a model as it is, and the path of a model file as an absolute one.

    A worker may run in another folder.
    """
    return str(Path(model).resolve()) if is_path(model) else model

"""Simple and published peers that labels and networks are compared with.

Each is a labeller: uint8 BGR crops (N, 112, 112, 3) -> scores (N,), higher is better.
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk import FaceDetector, QualityScorer
from sdk.alignment import TEMPLATE, similarity_transform
from sdk.errors import ModelError, ScoreError
from sdk.files import read_file
from sdk.models.loading import is_path, load_model
from sdk.onnx_bytes.protobuf import read_message
from train.lazy import Lazily


class Sharpness:
    """Variance of the Laplacian of the grey image, the usual measure of focus."""

    name = "sharpness"

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        greys = (cv2.cvtColor(face, cv2.COLOR_BGR2GRAY) for face in faces)
        return {self.name: np.array([cv2.Laplacian(grey, cv2.CV_64F).var() for grey in greys])}


class DetectorConfidence:
    """Confidence of YuNet in the best face that it finds in the crop; 0 where it finds none.

    The crop gets a border of its mean colour, half its size wide, so that the face does not touch the edge.
    """

    name = "detector"

    def __init__(self, model: str = "yunet") -> None:
        self._detector = Lazily(partial(FaceDetector, _found_anywhere(model), min_confidence=0.01))

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        return {self.name: np.array([self._best(face) for face in faces])}

    def _best(self, face: NDArray[np.uint8]) -> float:
        colour = tuple(float(value) for value in face.mean(axis=(0, 1)))
        framed = cv2.copyMakeBorder(face, 56, 56, 56, 56, cv2.BORDER_CONSTANT, value=colour)
        return max((found.confidence for found in self._detector().detect(framed)), default=0.0)


LARGEST = 256 << 20
"""Bytes of LightQNet's file."""


class LightQNet:
    """LightQNet (Chen et al., IEEE SPL 2021), the published `lightqnet-dm100.pb`.

    It takes RGB 96 x 96 as `(x - 128) / 128`, aligned on the eyes and the centre of the mouth. The crop is warped once
    more, from where these points are in an aligned crop.

    Raises:
        ModelError: The file is not there, or is no such network.
    """

    name = "lightqnet"
    _POINTS = np.array([(32.8, 44.3), (63.0, 44.1), (48.1, 79.1)])

    def __init__(self, path: Path) -> None:
        if not os.path.lexists(path):
            raise ModelError(f"no LightQNet at {path}; give the path of lightqnet-dm100.pb")
        data = np.frombuffer(read_file(path, ModelError, "give the path of lightqnet-dm100.pb", LARGEST), np.uint8)
        _check_graph(data, path)
        self._network = Lazily(partial(cv2.dnn.readNetFromTensorflow, data))
        source = np.array([TEMPLATE[0], TEMPLATE[1], TEMPLATE[3:].mean(axis=0)])
        self._matrix = similarity_transform(source, self._POINTS)

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        crops = [cv2.warpAffine(face, self._matrix, (96, 96), flags=cv2.INTER_LINEAR) for face in faces]
        network = self._network()
        network.setInput(cv2.dnn.blobFromImages(crops, 1 / 128, mean=(128, 128, 128), swapRB=True))
        return {self.name: np.asarray(network.forward(), np.float64).reshape(len(faces), -1)[:, 0]}


def _check_graph(data: NDArray[np.uint8], path: Path) -> None:
    """Refuse what is no TensorFlow graph, nodes (field 1) with names (1) and operations (2): OpenCV would crash."""
    try:
        nodes = [read_message(node) for node in read_message(data.tobytes()).get(1, [])]
    except ModelError:
        nodes = []
    if not nodes or not all(1 in node and 2 in node for node in nodes):
        raise ModelError(f"{path} is truncated or no TensorFlow graph, wanted lightqnet-dm100.pb; fetch it again")


class Model:
    """A quality model of the SDK, by name or by path.

    Args:
        model: Name or path.
        name: Of the column; None for that of the model's card.
    """

    def __init__(self, model: str, name: str | None = None) -> None:
        self._scorer = Lazily(partial(QualityScorer, _found_anywhere(model)))
        self.name = name or load_model(model).card.name

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        try:
            return {self.name: self._scorer().score_batch(list(faces))}
        except ScoreError as error:
            return {self.name: error.scores}


def _found_anywhere(model: str) -> str:
    """The name of a model, or the whole path of a file, for a worker may run in another folder."""
    return str(Path(model).resolve()) if is_path(model) else model

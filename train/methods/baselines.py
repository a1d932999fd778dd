"""Simple and published measures of quality, which other methods are compared with.

Each is a labeller: uint8 BGR crops (N, 112, 112, 3) -> scores (N,). A higher score is better.
"""

import os
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from sdk import FaceDetector
from sdk.alignment import TEMPLATE, similarity_transform
from sdk.errors import ModelError
from sdk.files import read_file
from sdk.models.store import fetch_model
from sdk.onnx_bytes.protobuf import read_message
from train.labelling.sdk_model import absolute_model
from train.lazy import Lazy


class Sharpness:
    """Variance of the Laplacian of the grey image, the usual measure of focus."""

    name = "sharpness"

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        greys = (cv2.cvtColor(face, cv2.COLOR_BGR2GRAY) for face in faces)
        return {self.name: np.array([cv2.Laplacian(grey, cv2.CV_64F).var() for grey in greys])}


class DetectorConfidence:
    """Confidence of the face detector in the best face of the crop, in [0, 1]; 0 where it finds none.

    The crop gets a border of its mean colour, half its size wide, so that the face does not touch the edge.

    Args:
        model: Name in the catalogue, or model file.
    """

    name = "detector"

    def __init__(
        self, model: Annotated[str, typer.Option(help="Detector: name in the catalogue, or model file.")] = "yunet"
    ) -> None:
        self._detector = Lazy(partial(FaceDetector, absolute_model(model), min_confidence=0.01))

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        return {self.name: np.array([self._best(face) for face in faces])}

    def _best(self, face: NDArray[np.uint8]) -> float:
        colour = tuple(float(value) for value in face.mean(axis=(0, 1)))
        framed = cv2.copyMakeBorder(face, 56, 56, 56, 56, cv2.BORDER_CONSTANT, value=colour)
        return max((found.confidence for found in self._detector().detect(framed)), default=0.0)


LARGEST = 256 << 20
"""Most bytes of LightQNet's file."""

_ADVICE = "give the path of lightqnet-dm100.pb"


class LightQNet:
    """LightQNet (Chen et al., IEEE SPL 2021), the published `lightqnet-dm100.pb`.

    The network takes RGB 96 x 96 as `(x - 128) / 128`, aligned on the eyes and the centre of the mouth. So the crop is
    warped once more, from where these three points are in an aligned crop.

    Args:
        weights: The file; without it the catalogue's `lightqnet` is fetched.

    Raises:
        ModelError: The file is missing, cannot be fetched, or is no TensorFlow graph.
    """

    name = "lightqnet"
    one_caller = True
    _POINTS = np.array([(32.8, 44.3), (63.0, 44.1), (48.1, 79.1)])

    def __init__(
        self,
        weights: Annotated[Path | None, typer.Option(help="File lightqnet-dm100.pb.", show_default="fetched")] = None,
    ) -> None:
        weights = weights or fetch_model(self.name)
        if not os.path.lexists(weights):
            raise ModelError(f"no LightQNet at {weights}; {_ADVICE}")
        data = np.frombuffer(read_file(weights, ModelError, _ADVICE, LARGEST), np.uint8)
        _check_graph(data, weights)
        self.record = {"weights": zlib.crc32(data.tobytes())}
        self._network = Lazy(partial(cv2.dnn.readNetFromTensorflow, data))
        source = np.array([TEMPLATE[0], TEMPLATE[1], TEMPLATE[3:].mean(axis=0)])
        self._matrix = similarity_transform(source, self._POINTS)

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        crops = [cv2.warpAffine(face, self._matrix, (96, 96), flags=cv2.INTER_LINEAR) for face in faces]
        network = self._network()
        network.setInput(cv2.dnn.blobFromImages(crops, 1 / 128, mean=(128, 128, 128), swapRB=True))
        return {self.name: np.asarray(network.forward(), np.float64).reshape(len(faces), -1)[:, 0]}


def _check_graph(data: NDArray[np.uint8], path: Path) -> None:
    """Refuse a file that is no TensorFlow graph, for OpenCV would crash on it.

    In a graph each node (field 1) has a name (1) and an operation (2).
    """
    try:
        nodes = [read_message(node) for node in read_message(data.tobytes()).get(1, [])]
    except ModelError:
        nodes = []
    if not nodes or not all(1 in node and 2 in node for node in nodes):
        raise ModelError(f"{path} is truncated or no TensorFlow graph, wanted lightqnet-dm100.pb; fetch it again")

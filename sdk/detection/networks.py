"""The networks that find faces in one pass over an image: this project's own, and YuNet."""

import logging
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.detection.boxes import NMS, Rows, suppress
from sdk.errors import ModelError
from sdk.models.loading import Model
from sdk.runtimes.base import check_input

logger = logging.getLogger(__name__)

STRIDES = (8, 16, 32)
"""Distance of the cells in each level of this project's network, pixels."""

MIN_INPUT = 64
"""YuNet's images get a black border up to this height and width. In smaller ones OpenCV 4 finds faces at infinity."""

FARTHEST = 1e6
"""Largest coordinate that a face may have, pixels."""


class DetectionNetwork(Protocol):
    """Finds faces in an image in one pass, without scaling it. Several threads may share it.

    Attributes:
        passes: Longest sides of the image, pixels, ascending: the sizes at which `FaceDetector` shows it the image.
    """

    passes: tuple[int, ...]

    def find(self, image: NDArray[np.uint8]) -> Rows:
        """Find faces in uint8 BGR (H, W, 3).

        Raises:
            ModelError: The network cannot be run.
            DeviceError: There is not enough memory.
        """
        ...


@lru_cache(16)
def cell_grid(height: int, width: int) -> NDArray[np.float32]:
    """Return the cells of an image in the order of the network's output: level by level, row by row.

    Returns:
        float32 (cells, 3): x and y of each cell's centre, and its stride, pixels.
    """
    levels = []
    for stride in STRIDES:
        rows, columns = (-(-side // STRIDES[-1]) * STRIDES[-1] // stride for side in (height, width))
        y, x = (np.mgrid[:rows, :columns].reshape(2, -1) + 0.5) * stride
        levels.append(np.stack([x, y, np.full_like(x, stride)], 1))
    return np.concatenate(levels).astype(np.float32)


def decode(cells: NDArray[np.float32], grid: NDArray[np.float32]) -> Rows:
    """Convert the network's output to faces.

    Args:
        cells: (N, 15): confidence; centre of the box, in strides from the cell's centre; logarithm of width and height,
            in strides; landmarks, in widths and heights of the box from its centre.
        grid: (N, 3); see `cell_grid`.
    """
    centre, stride = grid[:, :2], grid[:, 2:]
    size = np.exp(np.minimum(cells[:, 3:5], 5)) * stride
    corner = centre + cells[:, 1:3] * stride - size / 2
    points = np.tile(corner + size / 2, 5) + cells[:, 5:15] * np.tile(size, 5)
    return np.concatenate([corner, size, points, cells[:, :1]], 1)


def keep_possible(rows: Rows, path: Path) -> Rows:
    """Return the rows whose coordinates are finite and below `FARTHEST` and whose box has an area.

    The number of the others is a warning in the log, with the model's path.
    """
    boxes = rows[:, :14]
    good = np.isfinite(boxes).all(1) & (np.abs(boxes) < FARTHEST).all(1) & (boxes[:, 2:4] > 1 / FARTHEST).all(1)
    if not good.all():
        bad = np.count_nonzero(~good)
        logger.warning("%s gives impossible coordinates for %d of %d faces; they are left out", path, bad, len(rows))
    return rows[good]


class FaceCells:
    """This project's network in onnxruntime. A call uses one thread; calls of several threads run side by side.

    Args:
        model: The model, read and checked.
        min_confidence: Least confidence of a face, 0 to 1.

    Raises:
        ModelError: onnxruntime cannot load the file, or the file differs from its card.
    """

    passes: tuple[int, ...] = (256, 512, 1024, 2048)
    """The network finds faces of 10 to 200 pixels. The first pass is for large faces; see docs/detector.md."""

    def __init__(self, model: Model, min_confidence: float) -> None:
        from sdk.runtimes.onnxruntime import open_session, tensor_info

        self._min_confidence = min_confidence
        self._session = open_session(model.data, model, ["CPUExecutionProvider"])
        self._path = model.path
        self._input = check_input(model, [tensor_info(value) for value in self._session.get_inputs()]).name
        outputs = [tensor_info(value) for value in self._session.get_outputs()]
        found = [(output.name, output.dtype, (output.shape or ())[-1:]) for output in outputs]
        if found != [(model.card.output, "float32", (15,))]:
            given = ", ".join(map(str, outputs))
            raise ModelError(f"{model.path} gives {given}, wanted {model.card.output!r} with 15 values a cell")

    def find(self, image: NDArray[np.uint8]) -> Rows:
        """See `DetectionNetwork.find`."""
        from sdk.runtimes.onnxruntime import run_error

        grid = cell_grid(*image.shape[:2])
        try:
            cells = self._session.run(None, {self._input: image[None]})[0]
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise run_error(error, "cpu", 1) from error
        if cells.shape != (1, len(grid), 15):
            raise ModelError(f"{self._path} gives {cells.shape} for an image, wanted {(1, len(grid), 15)}")
        confidences = cells[0, :, 0]
        if not np.isfinite(confidences).all():
            raise ModelError(f"{self._path} gives confidences that are no numbers; export the detector again")
        sure = np.flatnonzero(confidences >= self._min_confidence)
        with np.errstate(over="ignore", invalid="ignore"):
            rows = decode(cells[0, sure], grid[sure])
        return suppress(keep_possible(rows, self._path))


class YuNet:
    """YuNet in OpenCV. One call runs at a time; others wait.

    Args:
        model: The model, read and checked.
        min_confidence: Least confidence of a face, 0 to 1.

    Raises:
        ModelError: OpenCV cannot load the file.
    """

    passes: tuple[int, ...] = (640, 1280, 2560)
    """The network finds faces of about 10 to 450 pixels. Its landmarks are precise from about 60 pixels on.

    Measured on 40 LFW faces, reduced to 20 pixels in images of 1000 pixels: one pass at 640 finds 22, all passes find
    40. Landmarks of an image and of its mirror image were compared: the 90 % quantile of their difference is 7 % of the
    face's width with all passes, 16 % with one. For faces of 30 to 100 pixels it is 4 to 9 %.
    """

    def __init__(self, model: Model, min_confidence: float) -> None:
        self._lock, self._path = threading.Lock(), model.path
        data, nothing = np.frombuffer(model.data, np.uint8), np.empty(0, np.uint8)
        try:
            self._net = cv2.FaceDetectorYN.create("onnx", data, nothing, (320, 320), min_confidence, NMS)
        except cv2.error as error:
            raise ModelError(f"OpenCV {cv2.__version__} cannot load {model.path}: {error}") from error

    def find(self, image: NDArray[np.uint8]) -> Rows:
        """See `DetectionNetwork.find`."""
        right, bottom = (max(0, MIN_INPUT - side) for side in image.shape[1::-1])
        image = np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT), np.uint8)
        try:
            with self._lock:
                self._net.setInputSize((image.shape[1], image.shape[0]))
                rows: Any = self._net.detect(image)[1]  # None if there is no face, against OpenCV's type stubs
        except (cv2.error, MemoryError) as error:
            raise ModelError(f"OpenCV {cv2.__version__} cannot run {self._path}: {error}") from error
        return np.zeros((0, 15), np.float32) if rows is None else keep_possible(rows, self._path)


NETWORKS: dict[str, type[FaceCells] | type[YuNet]] = {"fiqa-detector": FaceCells, "yunet": YuNet}
"""Networks by the variant on a model's card."""

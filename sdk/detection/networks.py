"""One pass of a face detector over one picture: this project's own network, and YuNet."""

import logging
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import ModelError
from sdk.models.loading import Model
from sdk.runtimes.base import check_input

logger = logging.getLogger(__name__)

STRIDES = (8, 16, 32)
"""Pixels between the cells of each level of this project's detector."""

NMS = 0.3
"""Intersection over union above which two boxes are one face."""

MIN_INPUT = 64
"""YuNet's pictures get a black border up to this height or width: in flatter ones OpenCV 4 finds faces at infinity."""

FARTHEST = 1e6
"""Pixels from which on a place is beyond any image."""

Rows = NDArray[np.float32]
"""(N, 15): box x, y, width, height; five landmarks x, y; confidence in [0, 1]. All but the last in pixels."""


class Detector(Protocol):
    """Finds faces in a picture, as it is, in one pass. Several threads may share one.

    Attributes:
        passes: Longest sides, pixels, ascending, at which it should see a picture one after the other.
    """

    passes: tuple[int, ...]

    def find(self, image: NDArray[np.uint8]) -> Rows:
        """Find faces.

        Args:
            image: uint8 BGR (H, W, 3).
        """
        ...


@lru_cache(16)
def cell_grid(height: int, width: int) -> NDArray[np.float32]:
    """The cells of an image: level by level, row by row, as the network gives them.

    Returns:
        (cells, 3): x and y of each cell's middle, and its stride, in pixels.
    """
    levels = []
    for stride in STRIDES:
        rows, columns = (-(-side // STRIDES[-1]) * STRIDES[-1] // stride for side in (height, width))
        y, x = (np.mgrid[:rows, :columns].reshape(2, -1) + 0.5) * stride
        levels.append(np.stack([x, y, np.full_like(x, stride)], 1))
    return np.concatenate(levels).astype(np.float32)


def decode(cells: NDArray[np.float32], grid: NDArray[np.float32]) -> Rows:
    """What cells say, in pixels.

    Args:
        cells: (N, 15): confidence; middle of the box and logarithm of its size, in strides from the cell's middle;
            landmarks, in widths and heights of the box from its middle.
        grid: (N, 3), see `cell_grid`.
    """
    middle, stride = grid[:, :2], grid[:, 2:]
    size = np.exp(np.minimum(cells[:, 3:5], 5)) * stride
    corner = middle + cells[:, 1:3] * stride - size / 2
    points = np.tile(corner + size / 2, 5) + cells[:, 5:15] * np.tile(size, 5)
    return np.concatenate([corner, size, points, cells[:, :1]], 1)


def intersection_over_union(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """Of boxes x, y, width, height (N, 4 or more) and (M, 4 or more): (N, M)."""
    near = np.maximum(a[:, None, :2], b[None, :, :2])
    far = np.minimum(a[:, None, :2] + a[:, None, 2:4], b[None, :, :2] + b[None, :, 2:4])
    shared = np.clip(far - near, 0, None).prod(-1)
    union = a[:, None, 2:4].prod(-1) + b[None, :, 2:4].prod(-1) - shared
    return shared / np.maximum(union, 1e-9)


def suppress(rows: Rows) -> Rows:
    """One row a face: of boxes that overlap the most confident one stays, with the mean of them all, weighted by
    confidence, for its box and landmarks.

    Args:
        rows: In any order.

    Returns:
        The most confident first.
    """
    rows = rows[np.argsort(-rows[:, 14], kind="stable")]
    kept = []
    while len(rows):
        near, far = (
            np.maximum(rows[0, :2], rows[:, :2]),
            np.minimum(rows[0, :2] + rows[0, 2:4], rows[:, :2] + rows[:, 2:4]),
        )
        shared = np.clip(far - near, 0, None).prod(1)
        same = shared > NMS * (rows[0, 2:4].prod() + rows[:, 2:4].prod(1) - shared)
        same[0] = True  # whatever rounding says of its own box
        face = np.average(rows[same], axis=0, weights=np.maximum(rows[same, 14], 1e-9))
        face[14] = rows[0, 14]
        kept.append(face)
        rows = rows[~same]
    return np.array(kept, np.float32).reshape(-1, 15)


def sound(rows: Rows, path: Path) -> Rows:
    """Rows that can be faces: with finite places, not beyond any image, and boxes that have an area. A warning counts
    the others."""
    boxes = rows[:, :14]
    good = np.isfinite(boxes).all(1) & (np.abs(boxes) < FARTHEST).all(1) & (boxes[:, 2:4] > 1 / FARTHEST).all(1)
    if not good.all():
        logger.warning("%s gives %d faces at impossible places, which are left out", path, np.count_nonzero(~good))
    return rows[good]


class FaceCells:
    """This project's detector in onnxruntime: one thread a caller, and callers need not wait for each other.

    Args:
        model: The file.
        min_confidence: Faces below it are left out.

    Raises:
        ModelError: onnxruntime cannot load it, or it is not such a network.
    """

    passes: tuple[int, ...] = (256, 512, 1024, 2048)
    """It knows faces of 10 to 200 pixels; the first pass is for the large ones, see docs/detector.md."""

    def __init__(self, model: Model, min_confidence: float) -> None:
        from sdk.runtimes.onnxruntime import open_session, tensor_info

        self._min_confidence = min_confidence
        self._session = open_session(model.data, model, ["CPUExecutionProvider"])
        self._path = model.path
        self._input = check_input(model, [tensor_info(value) for value in self._session.get_inputs()]).name
        outputs = [tensor_info(value) for value in self._session.get_outputs()]
        if [(end.name, end.dtype, (end.shape or ())[-1:]) for end in outputs] != [
            (model.card.output, "float32", (15,))
        ]:
            given = ", ".join(map(str, outputs))
            raise ModelError(f"{model.path} gives {given}, wanted {model.card.output!r} with 15 values a cell")

    def find(self, image: NDArray[np.uint8]) -> Rows:
        """See `Detector.find`."""
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
        return suppress(sound(rows, self._path))


class YuNet:
    """YuNet in OpenCV. Callers take turns.

    Args:
        model: The file.
        min_confidence: Faces below it are left out.

    Raises:
        ModelError: OpenCV cannot load it.
    """

    passes: tuple[int, ...] = (640, 1280, 2560)
    """It sees faces of about 10 to 450 pixels, and places landmarks well from about 60.

    Measured on LFW faces reduced to 20 pixels, in an image of 1000: one pass at 640 finds 22 of 40, all passes find 40,
    and the landmarks in an image and in its mirror image differ by at most 7 % of the face's width for nine faces in
    ten, against 16 % for those that one pass finds. For faces of 30 to 100 pixels: 4 to 9 %.
    """

    def __init__(self, model: Model, min_confidence: float) -> None:
        self._lock, self._path = threading.Lock(), model.path
        data, nothing = np.frombuffer(model.data, np.uint8), np.empty(0, np.uint8)
        try:
            self._net = cv2.FaceDetectorYN.create("onnx", data, nothing, (320, 320), min_confidence, NMS)
        except cv2.error as error:
            raise ModelError(f"OpenCV {cv2.__version__} cannot load {model.path}: {error}") from error

    def find(self, image: NDArray[np.uint8]) -> Rows:
        """See `Detector.find`."""
        right, bottom = (max(0, MIN_INPUT - side) for side in image.shape[1::-1])
        image = np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT), np.uint8)
        try:
            with self._lock:
                self._net.setInputSize((image.shape[1], image.shape[0]))
                rows: Any = self._net.detect(image)[1]  # None when there is no face, whatever OpenCV's stubs say
        except (cv2.error, MemoryError) as error:
            raise ModelError(f"OpenCV {cv2.__version__} cannot run {self._path}: {error}") from error
        return np.zeros((0, 15), np.float32) if rows is None else sound(rows, self._path)


DETECTORS: dict[str, type[FaceCells] | type[YuNet]] = {"fiqa-detector": FaceCells, "yunet": YuNet}
"""How a detector runs, by the variant that its card names."""

"""QualityScorer: the class that users meet."""

import _thread
import math
import os
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdk.alignment import CROP_SIZE, align
from sdk.errors import DeviceError, ImageError, InputError, ModelError, ScoreError
from sdk.models.card import ModelCard
from sdk.models.loading import Model, load_model, settle
from sdk.results import FaceQuality
from sdk.runtimes.base import Runtime
from sdk.runtimes.registry import ON_CPU, open_runtime, parse_device
from sdk.runtimes.shared_runtime import Engine

if TYPE_CHECKING:
    from sdk.detection.face_detector import FaceDetector
    from sdk.images.decoding import ImageSource
    from sdk.results import Face

CROP_SHAPE = (CROP_SIZE, CROP_SIZE, 3)

LONGEST_WAIT = 100.0
"""Most milliseconds that `wait_ms` may be."""

MOST_THREADS = 1024
"""Most `threads`; no machine has more cores."""


class QualityScorer:
    """Scores faces: how useful is this image for recognising the person? Higher is better.

    May be used from several threads, and as a context manager. Dropped without `close`, it lets go of its model and
    threads by itself. It pickles as its arguments (a path is made absolute): a copy, and a scorer in a forked process,
    opens the model again. Only the device `cpu` survives a fork: on any other, a call is a `DeviceError` at once.

    Args:
        model: Name in the catalogue (`fiqa models` lists it), or path of an .onnx, .xml (OpenVINO) or .engine
            (TensorRT) file.
        device: `auto`, `cpu`, `cuda` or `cuda:1`, `tensorrt`, `tensorrt-rtx`, `openvino`, `openvino-ep`; see
            docs/runtimes.md. `auto` says in the log and in `device` what it took.
        threads: Cores that `score_batch` uses on the CPU; None for all that the process may use.
        card: Describes the file when it carries no card itself.
        detector: Finds the faces in `assess`; None for `FaceDetector()`, made when it is first needed.
        precision: `bf16` to compute in that where device and CPU can; None for the model's own.
        wait_ms: Milliseconds that a face in `score` waits for faces of other threads, to be scored together. 0 for
            none, and the quickest answer to a single caller.
        trust: Load an engine that was built on another machine; an engine is code.
        max_pixels: Largest image that `assess` takes, width x height; None for `sdk.images.decoding.MAX_PIXELS`.
        max_bytes: Largest file that `assess` takes; None for `sdk.images.decoding.MAX_BYTES`.

    Raises:
        ModelError: The model is unknown, cannot be fetched, or is not what its card says.
        DeviceError: The device or the precision was asked for and is not there.
        InputError: An argument is of a wrong type, or outside its range.

    Examples:
        >>> import numpy as np
        >>> from sdk import QualityScorer
        >>> with QualityScorer() as scorer:
        ...     scores = scorer.score_batch(np.zeros((3, 112, 112, 3), np.uint8))
        >>> scores.shape
        (3,)
    """

    def __init__(
        self,
        model: str | PathLike[str] = "fiqa-nano",
        device: str = "auto",
        threads: int | None = None,
        *,
        card: ModelCard | None = None,
        detector: "FaceDetector | None" = None,
        precision: str | None = None,
        wait_ms: float = 0,
        trust: bool = False,
        max_pixels: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        _check_count("threads", threads, MOST_THREADS)
        _check_count("max_pixels", max_pixels)
        _check_count("max_bytes", max_bytes)
        if not _is_number(wait_ms) or not 0 <= wait_ms <= LONGEST_WAIT:
            raise InputError(f"wait_ms is {wait_ms!r}, wanted 0 to {LONGEST_WAIT:g} milliseconds")
        _check_type("card", card, ModelCard)
        _check_type("precision", precision, str)
        _check_type("trust", trust, bool)
        if detector is not None and (isinstance(detector, type) or not callable(getattr(detector, "detect", None))):
            raise InputError(f"detector is {detector!r}, wanted a FaceDetector; None for the one in the package")
        if not isinstance(device, str):
            raise InputError(f"device is {device!r}, wanted text such as 'auto', 'cpu' or 'cuda:1'")
        parse_device(device)  # a slip of the pen is found before a model is fetched
        settled = settle(model)
        self._settings: dict[str, Any] = {
            "model": settled, "device": device, "threads": threads, "card": card, "detector": detector,
            "precision": precision, "wait_ms": wait_ms, "trust": trust, "max_pixels": max_pixels,
            "max_bytes": max_bytes,
        }  # fmt: skip
        callers = int(threads or available_cores())
        loaded, runtime = _open(model, device, card, precision, callers, trust)
        self._card = loaded.card
        self._device, self._precision = runtime.device, runtime.precision
        self._threads = callers if threads or self._device in ON_CPU else 1
        reopen = partial(_reopen, settled, self._device, card, precision, callers, trust)
        self._engine = Engine(loaded, runtime, reopen, self._threads, wait_ms / 1000)
        self._detector = detector
        # The engine does not hold the scorer, so that a dropped scorer lets go of the model and the threads. A GPU's
        # runtime waits for its own thread, where the garbage collector may just be at work: it is closed by another.
        end, close = self._engine.close, _thread.start_new_thread
        dropped = weakref.finalize(self, end) if self._device in ON_CPU else weakref.finalize(self, close, end, ())
        dropped.atexit = False

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._card

    @property
    def device(self) -> str:
        """Where the model really runs: `cpu`, `cuda:0`, `openvino`, `tensorrt:0`."""
        return self._device

    @property
    def precision(self) -> str:
        """What the model computes in: `fp32`, `fp16`, `bf16`, `int8`, `int8+fp16` or `int8+bf16`."""
        return self._precision

    @property
    def threads(self) -> int:
        """How many callers share the model in `score_batch`."""
        return self._threads

    @property
    def limits(self) -> dict[str, int]:
        """`max_pixels` and `max_bytes` as far as they were given, as `load_image` takes them."""
        names = ("max_pixels", "max_bytes")
        return {name: self._settings[name] for name in names if self._settings[name] is not None}

    def score(self, face: NDArray[np.uint8]) -> float:
        """Score one face on the calling thread.

        Args:
            face: uint8 BGR (112, 112, 3), aligned (`sdk.align`).

        Raises:
            ImageError: The array has another type or shape.
            ScoreError: The model gives NaN or infinity for it.
            ModelError: The scorer is closed.
            DeviceError: The device does not survive in a forked process.
        """
        score = self._engine.score(_check_face(face, "a face"))
        if not math.isfinite(score):
            raise self._no_score(np.array([score], np.float32))
        return score

    def score_batch(self, faces: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Score many faces.

        Args:
            faces: uint8 BGR (N, 112, 112, 3), or a sequence of (112, 112, 3); N may be 0.

        Returns:
            float32 (N,), in the same order.

        Raises:
            ImageError: A face has another type or shape.
            ScoreError: The model gives NaN or infinity for a face; its `scores` are those of all faces.
            ModelError: The scorer is closed.
            DeviceError: The device does not survive in a forked process.
        """
        scores = self._engine.score_batch(_check_faces(faces))
        if not np.isfinite(scores).all():
            raise self._no_score(scores)
        return scores

    def warmup(self) -> None:
        """Run the model once with one face and once with the largest batch, so that no caller waits for its start.

        Engines are built, kernels chosen and memory taken at this time. It may take minutes with `tensorrt`.
        """
        for size in sorted({1, self._engine.batch}):
            self._engine.run(np.zeros((size, *CROP_SHAPE), np.uint8))

    def assess(self, image: "ImageSource") -> list[FaceQuality]:
        """Find, align and score every face of an image.

        Args:
            image: Path, bytes, array (BGR) or PIL image; see `sdk.images.decoding` for what is converted and refused.

        Returns:
            The faces, largest first; empty when there is none.

        Raises:
            ImageError: The image cannot be read or is refused.
            ScoreError: The model gives NaN or infinity for a face; its `faces` are all faces, with NaN for that one.
            ModelError: The scorer is closed, or the detector's model cannot be fetched.
            DeviceError: The device does not survive in a forked process.
        """
        from sdk.images.decoding import load_image  # with OpenCV, which a scorer of crops does without

        with self._engine.in_use():
            pixels = load_image(image, **self.limits)
            faces = self._detect(pixels)
            crops = [align(pixels, face.landmarks) for face in faces]
        scores = self._engine.score_batch(crops)
        found = [
            FaceQuality(face.box, face.landmarks, face.confidence, float(score), crop)
            for face, score, crop in zip(faces, scores, crops, strict=True)
        ]
        if not np.isfinite(scores).all():
            raise self._no_score(scores, found)
        return found

    def close(self) -> None:
        """Let go of the model and the threads; closing twice is no error.

        A call of another thread gets its result or `ModelError`, and so does every later call. What the model computes
        at this moment is finished in the background: `close` does not wait for it.
        """
        self._engine.close()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the arguments."""
        self._engine.check()
        return self._settings

    def __setstate__(self, settings: dict[str, Any]) -> None:
        """Open the model again."""
        QualityScorer.__init__(self, **settings)

    def __enter__(self) -> "QualityScorer":
        self._engine.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _detect(self, pixels: NDArray[np.uint8]) -> "list[Face]":
        from sdk.detection.face_detector import FaceDetector

        if self._detector is None:
            self._detector = FaceDetector()  # two threads may make one each: either is right
        return self._detector.detect(pixels)

    def _no_score(self, scores: NDArray[np.float32], faces: Sequence[FaceQuality] = ()) -> ScoreError:
        bad = np.flatnonzero(~np.isfinite(scores))
        message = (
            f"{self._card.name} in {self._precision} on {self._device} gives {scores[bad[0]]} for {len(bad)} of "
            f"{len(scores)} faces, first for face {bad[0]}; wanted a number: try device='cpu' or another precision of "
            "the model, and check its file (fiqa models verify)"
        )
        clean = np.where(np.isfinite(scores), scores, np.float32(np.nan))
        return ScoreError(
            message, clean, [replace(face, score=float(score)) for face, score in zip(faces, clean, strict=bool(faces))]
        )


def _open(
    model: str | PathLike[str], device: str, card: ModelCard | None, precision: str | None, threads: int, trust: bool
) -> tuple[Model, Runtime]:
    loaded = load_model(model, card, trust=trust)
    spec = loaded.card.input
    if loaded.card.task != "quality" or (spec.height, spec.width) != CROP_SHAPE[:2]:
        raise ModelError(
            f"{loaded.path} is for {loaded.card.task} on {spec.width} x {spec.height} pixels, "
            f"wanted quality on {CROP_SIZE} x {CROP_SIZE}; `fiqa models` lists those"
        )
    return loaded, open_runtime(loaded, device, precision=precision, threads=threads)


def _reopen(
    model: str | PathLike[str], device: str, card: ModelCard | None, precision: str | None, threads: int, trust: bool
) -> Runtime:
    """Open the model in a forked process.

    OpenVINO could be opened too, and then sometimes hangs: what its threads held at the fork is held for ever.
    """
    if device != "cpu":
        raise DeviceError(
            f"the scorer on {device} was made before this process was forked, and {device} cannot be used on both "
            "sides of a fork; make the scorer in the new process, start processes with 'spawn', or use device='cpu'"
        )
    return _open(model, device, card, precision, threads, trust)[1]


def available_cores() -> int:
    """Cores that this process may use: its affinity, and its quota where a container sets one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _check_count(name: str, value: object, most: int | None = None) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if value is not None and not (whole and value >= 1 and (most is None or value <= most)):  # type: ignore[operator]
        wanted = f"from 1 to {most}" if most else "of at least 1"
        raise InputError(f"{name} is {value!r}, wanted a whole number {wanted}, or None for the default")


def _check_type(name: str, value: object, wanted: type) -> None:
    if value is not None and not isinstance(value, wanted):
        raise InputError(f"{name} is {value!r}, wanted {wanted.__name__} or None")


def _check_face(face: Any, name: str) -> NDArray[np.uint8]:
    if not isinstance(face, np.ndarray) or isinstance(face, np.ma.MaskedArray):
        raise ImageError(f"{name} is a {type(face).__name__}, wanted a numpy array; `assess` takes images")
    if face.dtype != np.uint8 or face.shape != CROP_SHAPE:
        raise ImageError(
            f"{name} is {face.dtype} {face.shape}, wanted uint8 {CROP_SHAPE} BGR, aligned; "
            "use `sdk.align` on its landmarks, or `assess` on the whole image"
        )
    return np.asarray(face)


def _check_faces(faces: Any) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
    if isinstance(faces, np.ndarray) and not isinstance(faces, np.ma.MaskedArray):
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != CROP_SHAPE:
            raise ImageError(f"faces are {faces.dtype} {faces.shape}, wanted uint8 (N, 112, 112, 3) BGR, aligned")
        return np.asarray(faces)
    if not isinstance(faces, Iterable) or isinstance(faces, np.ma.MaskedArray):
        raise ImageError(f"faces are a {type(faces).__name__}, wanted an array or a sequence of arrays")
    return [_check_face(face, f"face {index}") for index, face in enumerate(faces)]

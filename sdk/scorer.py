"""QualityScorer: the class that users meet."""

import _thread
import math
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdk.alignment import align, check_crop, check_crops
from sdk.arguments import check_count, check_range, check_type, is_finite
from sdk.errors import InputError, ScoreError
from sdk.models.card import ModelCard
from sdk.models.loading import settle
from sdk.results import FaceQuality
from sdk.runtimes.registry import ON_CPU, parse_device
from sdk.runtimes.shared_runtime import SharedRuntime, open_quality_model, reopen_quality_model
from sdk.text import shortened

if TYPE_CHECKING:
    from sdk.decision.calibration import Calibration
    from sdk.detection.face_detector import FaceDetector
    from sdk.images.decoding import ImageSource
    from sdk.measuring.measurer import Measurer
    from sdk.results import Face, Measure, Reason

LONGEST_WAIT = 100.0
"""Largest `wait_ms`, milliseconds."""

GPU_CALLERS = 2
"""Threads that share a GPU in `score_batch`: one prepares its faces while the GPU computes those of the other."""

MOST_THREADS = 1024
"""Largest `threads`; no machine has more cores."""


class QualityScorer:
    """Scores faces: how useful is the image for recognising the person? Higher is better.

    Several threads may share a scorer. It is a context manager; a scorer that is dropped without `close` frees its
    model and its threads, too.

    It pickles as its arguments, a path made absolute. A copy, or a scorer in a forked process, opens its model again.
    Only the device `cpu` can be used after a fork; on any other device a call raises `DeviceError`.

    Args:
        model: Name in the catalogue (`fiqa models list` shows them), or path of an .onnx, .xml (OpenVINO) or .engine
            (TensorRT) file.
        device: `auto`, `cpu`, `cuda` or `cuda:1`, `tensorrt`, `tensorrt-rtx`, `openvino`, `openvino-ep`; see
            docs/runtimes.md. With `auto` the choice is in the log and in the property `device`.
        threads: CPU cores that `score_batch` uses, and `score` where nobody else calls, 1 to 1024; None for all that
            the process may use.
        card: Describes a model file that carries no card itself.
        detector: Finds the faces in `assess`; None for `FaceDetector()`, made when it is first needed.
        precision: `bf16` to compute in bf16 if device and CPU can; None for the model's own precision.
        wait_ms: Time that a face in `score` waits for faces of other threads, to be scored with them, 0 to 100
            milliseconds. 0 gives the shortest latency of a single thread.
        trust: Load an engine that was built on another machine. An engine is code: trust only your own.
        calibration: What the model's scores mean, as `fiqa calibrate` wrote it: the file's path, or what was read of
            it. It gives `assess` the quality. None for that of the model's card, if it has one.
        accept: From which score on `assess` accepts a face: a score, or an operating point of the calibration,
            `enrol` or `identify`. None to leave it open.
        reasons: True for measures and reasons in `assess`; or the path of a file with other texts, such as a
            translation (see docs/reasons.md). They take less than a millisecond a face.
        max_pixels: Largest image that `assess` takes, width x height; None for 64 megapixels.
        max_bytes: Largest file that `assess` takes, bytes; None for 64 MiB.

    Raises:
        ModelError: The model is unknown, cannot be fetched, or differs from its card.
        DeviceError: The requested device or precision is missing.
        InputError: An argument has a wrong type, or is outside its range.

    Examples:
        >>> import numpy as np
        >>> from sdk import QualityScorer
        >>> with QualityScorer(device="cpu", threads=2) as scorer:
        ...     scores = scorer.score_batch(np.zeros((3, 112, 112, 3), np.uint8))
        >>> scores.shape
        (3,)
        >>> scorer
        QualityScorer(model='fiqa-nano', device='cpu', precision='fp32', threads=2)
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
        calibration: "Calibration | str | PathLike[str] | None" = None,
        accept: float | str | None = None,
        reasons: "bool | str | PathLike[str]" = False,
        max_pixels: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        check_count("threads", threads, MOST_THREADS)
        check_count("max_pixels", max_pixels)
        check_count("max_bytes", max_bytes)
        check_range("wait_ms", wait_ms, 0, LONGEST_WAIT, "milliseconds")
        check_type("card", card, ModelCard)
        check_type("precision", precision, str)
        check_type("trust", trust, bool)
        if detector is not None and (isinstance(detector, type) or not callable(getattr(detector, "detect", None))):
            raise InputError(f"detector is {detector!r}, wanted a FaceDetector; None for the one in the package")
        if not isinstance(device, str):
            raise InputError(f"device is {device!r}, wanted text such as 'auto', 'cpu' or 'cuda:1'")
        given = _read(calibration)
        _check_accept(accept)
        self._measurer = _measurer(reasons)
        parse_device(device)  # a mistyped device is an error before the model is fetched
        settled = settle(model)
        self._settings: dict[str, Any] = {
            "model": settled, "device": device, "threads": threads, "card": card, "detector": detector,
            "precision": precision, "wait_ms": wait_ms, "trust": trust, "calibration": given,
            "accept": accept, "reasons": reasons, "max_pixels": max_pixels, "max_bytes": max_bytes,
        }  # fmt: skip
        self._detector = detector
        callers = int(threads or available_cores())
        loaded, runtime = open_quality_model(model, device, card, precision, callers, trust)
        self._card = loaded.card
        if given is not None:
            given.check_model(loaded.card.name, loaded.sha256)
        self._calibration = loaded.card.calibration if given is None else given
        self._threshold = threshold_of(self._calibration, accept)
        self._device, self._precision = runtime.device, runtime.precision
        self._threads = callers if threads or self._device in ON_CPU else GPU_CALLERS
        reopen = partial(reopen_quality_model, settled, self._device, card, precision, callers, trust)
        self._runtime = SharedRuntime(loaded, runtime, reopen, self._threads, wait_ms / 1000)
        self._close_when_dropped()

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._card

    @property
    def device(self) -> str:
        """The device that the model really runs on: `cpu`, `cuda:0`, `openvino`, `tensorrt:0`."""
        return self._device

    @property
    def precision(self) -> str:
        """The precision that the model computes in: `fp32`, `fp16`, `bf16`, `int8`, `int8+fp16` or `int8+bf16`."""
        return self._precision

    @property
    def threads(self) -> int:
        """Number of threads that share the model in `score_batch`."""
        return self._threads

    @property
    def calibration(self) -> "Calibration | None":
        """What the scores mean; None where none was given and the model's card has none."""
        return self._calibration

    @property
    def threshold(self) -> float | None:
        """Score from which on faces are accepted; None where it was left open."""
        return self._threshold

    @property
    def measurer(self) -> "Measurer | None":
        """Measures faces and finds the reasons; None where they were not asked for."""
        return self._measurer

    @property
    def max_pixels(self) -> int:
        """Largest image that `assess` takes, width x height."""
        from sdk.images.decoding import MAX_PIXELS

        return MAX_PIXELS if self._settings["max_pixels"] is None else int(self._settings["max_pixels"])

    @property
    def max_bytes(self) -> int:
        """Largest file that `assess` takes, bytes."""
        from sdk.images.decoding import MAX_BYTES

        return MAX_BYTES if self._settings["max_bytes"] is None else int(self._settings["max_bytes"])

    def __repr__(self) -> str:
        return (
            f"QualityScorer(model={str(self._settings['model'])!r}, device={self._device!r}, "
            f"precision={self._precision!r}, threads={self._threads})"
        )

    def score(self, face: NDArray[np.uint8]) -> float:
        """Score one face on the calling thread; on the CPU with idle cores, where nobody else calls.

        Args:
            face: uint8 BGR (112, 112, 3), aligned (see `sdk.align`).

        Returns:
            The score. Its usual range is `card.score_range`.

        Raises:
            ImageError: The array has another type or shape.
            ScoreError: The model gives NaN or infinity.
            ModelError: The scorer is closed.
            DeviceError: The process was forked, and the device cannot be used after a fork.
        """
        score = self._runtime.score(check_crop(face, "a face"))
        if not math.isfinite(score):
            raise self._no_score(np.array([score], np.float32))
        return score

    def score_batch(self, faces: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Score many faces.

        Args:
            faces: uint8 BGR (N, 112, 112, 3), or a sequence of (112, 112, 3), aligned; N may be 0.

        Returns:
            float32 (N,), in the order of `faces`.

        Raises:
            ImageError: A face has another type or shape.
            ScoreError: The model gives NaN or infinity for a face. The error holds the scores of all faces.
            ModelError: The scorer is closed.
            DeviceError: The process was forked, and the device cannot be used after a fork.
        """
        scores = self._runtime.score_batch(check_crops(faces))
        if not np.isfinite(scores).all():
            raise self._no_score(scores)
        return scores

    def warmup(self) -> None:
        """Run the model in every batch size that it computes on this device, so that no later call is a first one.

        The library builds engines, chooses kernels, takes memory and captures CUDA graphs then. With `tensorrt` this
        may take minutes.
        """
        self._runtime.warmup()

    def assess(self, image: "ImageSource") -> list[FaceQuality]:
        """Find, align and score every face of an image.

        Args:
            image: Path, bytes, array (BGR) or PIL image; see `sdk.load_image` for what is converted and refused.

        Returns:
            The faces, largest box first; an empty list if there is none.

        Raises:
            ImageError: The image cannot be read or is refused.
            ScoreError: The model gives NaN or infinity for a face. The error holds all faces, with the score NaN there.
            ModelError: The scorer is closed, or the detector's model cannot be fetched.
            DeviceError: The process was forked, and the device cannot be used after a fork.
        """
        from sdk.images.decoding import load_image  # imported late: it needs OpenCV, a scorer of crops does not

        with self._runtime.in_use():
            pixels = load_image(image, max_pixels=self.max_pixels, max_bytes=self.max_bytes)
            faces = self._detect(pixels)
            crops = [align(pixels, face.landmarks) for face in faces]
            explained = self._explain(pixels, faces, crops)
        scores = self._runtime.score_batch(crops)
        found = [
            FaceQuality(face.box, face.landmarks, face.confidence, score, crop, *self.decide(score), *explanation)
            for face, score, crop, explanation in zip(faces, scores.tolist(), crops, explained, strict=True)
        ]
        if not np.isfinite(scores).all():
            raise self._no_score(scores, found)
        return found

    def decide(self, score: float) -> tuple[int | None, bool | None]:
        """Return the quality of a score, and whether it reaches the threshold.

        Args:
            score: A score of this scorer.

        Returns:
            The quality, 0 to 100, None without a calibration; and True or False, None without a threshold.
        """
        quality = None if self._calibration is None else self._calibration.quality(score)
        return quality, None if self._threshold is None else score >= self._threshold

    def close(self) -> None:
        """Free the model and end the threads. May be called twice.

        Calls that run in other threads return their result or raise `ModelError`; later calls raise `ModelError`.
        `close` does not wait for what the model is computing: that ends in the background.
        """
        self._runtime.close()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the arguments."""
        self._runtime.check()
        return self._settings

    def __setstate__(self, settings: dict[str, Any]) -> None:
        """Open the model again."""
        QualityScorer.__init__(self, **settings)

    def __enter__(self) -> "QualityScorer":
        self._runtime.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _close_when_dropped(self) -> None:
        # The garbage collector may run in any thread, also in the one that a GPU's runtime waits for in `close`. So a
        # new thread closes a GPU's runtime.
        close, start = self._runtime.close, _thread.start_new_thread
        dropped = weakref.finalize(self, close) if self._device in ON_CPU else weakref.finalize(self, start, close, ())
        dropped.atexit = False

    def _detect(self, pixels: NDArray[np.uint8]) -> "list[Face]":
        from sdk.detection.face_detector import FaceDetector

        if self._detector is None:
            self._detector = FaceDetector()  # without a lock: if two threads make one each, both are right
        return self._detector.detect(pixels)

    def _explain(
        self, pixels: NDArray[np.uint8], faces: "Sequence[Face]", crops: Sequence[NDArray[np.uint8]]
    ) -> "list[tuple[Mapping[str, Measure], tuple[Reason, ...]] | tuple[None, None]]":
        """Return measures and reasons of each face; None where they were not asked for."""
        if self._measurer is None:
            return [(None, None)] * len(faces)
        measured = self._measurer.faces(pixels, faces, crops)
        return [(measures, self._measurer.reasons(measures)) for measures in measured]

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


def _read(calibration: "Calibration | str | PathLike[str] | None") -> "Calibration | None":
    if calibration is None:
        return None
    from sdk.decision.calibration import Calibration, read_calibration

    if isinstance(calibration, Calibration):
        return calibration
    if not isinstance(calibration, (str, PathLike)):
        raise InputError(f"calibration is {calibration!r}, wanted the path of a file that fiqa calibrate wrote")
    return read_calibration(Path(calibration))


def _check_accept(accept: float | str | None) -> None:
    if accept is None or isinstance(accept, str):
        return
    if not is_finite(accept) or isinstance(accept, bool):
        raise InputError(f"accept is {shortened(repr(accept))}, wanted a score, or 'enrol' or 'identify'")


def threshold_of(calibration: "Calibration | None", accept: float | str | None) -> float | None:
    """Return the score from which on faces are accepted; None where that is left open.

    Args:
        calibration: It knows the operating points; None where there is none.
        accept: A score, or the name of a point.

    Raises:
        InputError: It is neither, or the calibration lacks that point.
    """
    _check_accept(accept)
    if not isinstance(accept, str):
        return None if accept is None else float(accept)
    if calibration is None:
        raise InputError(
            f"accept is {accept!r}, but there is no calibration: the model's card has none; give one (fiqa calibrate), "
            "or a score to accept from"
        )
    return calibration.threshold(accept).score


def _measurer(reasons: "bool | str | PathLike[str]") -> "Measurer | None":
    if not isinstance(reasons, (bool, str, PathLike)):
        raise InputError(f"reasons is {reasons!r}, wanted True or False, or the path of a file of texts")
    if reasons is False:
        return None
    from sdk.measuring.measurer import Measurer

    return Measurer(None if reasons is True else reasons)


def available_cores() -> int:
    """Return the number of CPU cores that this process may use: by its affinity, and by a container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))

"""QualityScorer: the class that users meet."""

import os
import threading
import time
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdk.alignment import CROP_SIZE, align
from sdk.errors import ImageError, InputError, ModelError
from sdk.faces import FaceQuality
from sdk.models.card import InputSpec, ModelCard
from sdk.models.loading import load_model
from sdk.runtimes.base import Runtime
from sdk.runtimes.plan import BatchPlan, plan_key, sized
from sdk.runtimes.select import ON_CPU, open_runtime, parse_device

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from sdk.detection import FaceDetector
    from sdk.images import ImageSource
    from sdk.runtimes.waiting import WaitingRoom

CROP_SHAPE = (CROP_SIZE, CROP_SIZE, 3)

LONGEST_WAIT = 100.0
"""Most milliseconds that `wait_ms` may be: nobody waits longer for company."""


class QualityScorer:
    """Scores faces: how useful is this image for recognising the person? Higher is better.

    May be used from several threads, and as a context manager.

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
        max_pixels: Largest image that `assess` takes, width x height; None for `sdk.images.MAX_PIXELS`.
        max_bytes: Largest file that it takes; None for `sdk.images.MAX_BYTES`.

    Raises:
        ModelError: The model is unknown, cannot be fetched, or is not what its card says.
        DeviceError: The device or the precision was asked for and is not there.
        InputError: `threads` is not a positive number, or `wait_ms` not one from 0 to 100.

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
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}, wanted at least 1, or None for all cores")
        if not 0 <= wait_ms <= LONGEST_WAIT:
            raise InputError(f"wait_ms is {wait_ms}, wanted 0 to {LONGEST_WAIT:g} milliseconds")
        parse_device(device)  # a slip of the pen is found before a model is fetched
        loaded = load_model(model, card, trust=trust)
        spec = loaded.card.input
        if loaded.card.task != "quality" or (spec.height, spec.width) != CROP_SHAPE[:2]:
            raise ModelError(
                f"{loaded.path} is for {loaded.card.task} on {spec.width} x {spec.height} pixels, "
                f"wanted quality on {CROP_SIZE} x {CROP_SIZE}; `fiqa models` lists those"
            )
        self._card = loaded.card
        callers = threads or available_cores()
        runtime = open_runtime(loaded, device, precision=precision, threads=callers)
        self._runtime: Runtime | None = runtime
        self._device, self._precision = runtime.device, runtime.precision
        self._threads = callers if threads or self._device in ON_CPU else 1
        self._plan = BatchPlan(runtime.batch, plan_key(loaded, runtime, self._threads))
        self._pool: ThreadPoolExecutor | None = None
        self._detector = detector
        limits = {"max_pixels": max_pixels, "max_bytes": max_bytes}
        self._limits = {name: value for name, value in limits.items() if value is not None}
        self._lock = threading.Lock()
        self._room = self._make_room(runtime.batch, wait_ms / 1000) if wait_ms else None

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

    def score(self, face: NDArray[np.uint8]) -> float:
        """Score one face on the calling thread.

        Args:
            face: uint8 BGR (112, 112, 3), aligned (`sdk.align`).

        Raises:
            ImageError: The array has another type or shape.
        """
        checked = _check_face(face)
        score = self._room.score(checked) if self._room is not None else self._run(checked[None])[0]
        if score is None:
            raise self._closed()
        return float(score)

    def score_batch(self, faces: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Score many faces.

        Args:
            faces: uint8 BGR (N, 112, 112, 3), or a sequence of (112, 112, 3); N may be 0.

        Returns:
            float32 (N,), in the same order.

        Raises:
            ImageError: A face has another type or shape.
        """
        stacked = _stack(faces)
        self._open_runtime()
        chunks = [stacked[part] for part in sized(self._plan.split(len(stacked), self._threads))]
        results = map(self._timed, chunks) if len(chunks) < 2 else self._workers().map(self._timed, chunks)
        return np.concatenate([np.empty(0, np.float32), *results])

    def warmup(self) -> None:
        """Run the model once with one face and once with the largest batch, so that no caller waits for its start.

        Engines are built, kernels chosen and memory taken at this time. It may take minutes with `tensorrt`.
        """
        for size in sorted({1, self._open_runtime().batch}):
            self._run(np.zeros((size, *CROP_SHAPE), np.uint8))

    def assess(self, image: "ImageSource") -> list[FaceQuality]:
        """Find, align and score every face of an image.

        Args:
            image: Path, bytes, array (BGR) or PIL image; see `sdk.images` for what is converted and refused.

        Returns:
            The faces, largest first; empty when there is none.

        Raises:
            ImageError: The image cannot be read or is refused.
            ModelError: The detector's model cannot be fetched.
        """
        from sdk.detection import FaceDetector  # with OpenCV, which a scorer of crops does without
        from sdk.images import load_image

        pixels = load_image(image, **self._limits)
        with self._lock:
            if self._detector is None:
                self._detector = FaceDetector()
        faces = self._detector.detect(pixels)
        crops = [align(pixels, face.landmarks) for face in faces]
        scores = self.score_batch(crops)
        return [
            FaceQuality(face.box, face.landmarks, face.confidence, float(score), crop)
            for face, score, crop in zip(faces, scores, crops, strict=True)
        ]

    def close(self) -> None:
        """Let go of the model and the threads. Scoring afterwards is an error; closing twice is not."""
        if self._room is not None:
            self._room.close()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.close()

    def __enter__(self) -> "QualityScorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open_runtime(self) -> Runtime:
        if self._runtime is None:
            raise self._closed()
        return self._runtime

    def _make_room(self, most: int, seconds: float) -> "WaitingRoom":
        from sdk.runtimes.waiting import WaitingRoom

        return WaitingRoom(self._run, most, seconds, self._threads)

    def _workers(self) -> "ThreadPoolExecutor":
        from concurrent.futures import ThreadPoolExecutor  # 4 ms that who scores single faces does without

        with self._lock:
            self._open_runtime()
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="fiqa")
            return self._pool

    def _closed(self) -> ModelError:
        return ModelError(f"the scorer of {self._card.name} is closed; make a new QualityScorer")

    def _timed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        start = time.perf_counter()
        scores = self._run(faces)
        self._plan.learn(len(faces), time.perf_counter() - start)
        return scores

    def _run(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._open_runtime().run(prepare(faces, self._card.input))


def prepare(faces: NDArray[np.uint8], spec: InputSpec) -> NDArray[Any]:
    """Turn faces into what a model takes.

    Args:
        faces: uint8 BGR (N, 112, 112, 3).
        spec: The model's input.

    Returns:
        C-contiguous uint8 or float32, (N, 112, 112, 3) or (N, 3, 112, 112).
    """
    coloured = faces[..., ::-1] if spec.colour == "RGB" else faces
    # Laid out first: arithmetic on 8-bit values in their final order is five times faster.
    batch = np.ascontiguousarray(coloured if spec.layout == "NHWC" else coloured.transpose(0, 3, 1, 2))
    if spec.dtype == "uint8":
        return batch
    step = 1 if spec.colour == "RGB" else -1
    shape = (3,) if spec.layout == "NHWC" else (3, 1, 1)
    values = batch.astype(np.float32)
    values /= 255
    values -= np.array(spec.mean[::step], np.float32).reshape(shape)
    values /= np.array(spec.std[::step], np.float32).reshape(shape)
    return values


def available_cores() -> int:
    """Cores that this process may use: its affinity, and its quota where a container sets one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))


def _check_face(face: Any) -> NDArray[np.uint8]:
    if not isinstance(face, np.ndarray):
        raise ImageError(f"a face is a {type(face).__name__}, wanted a numpy array; `assess` takes images")
    if face.dtype != np.uint8 or face.shape != CROP_SHAPE:
        raise ImageError(
            f"a face is {face.dtype} {face.shape}, wanted uint8 {CROP_SHAPE} BGR, aligned; "
            "use `sdk.align` on its landmarks, or `assess` on the whole image"
        )
    return face


def _stack(faces: Any) -> NDArray[np.uint8]:
    if isinstance(faces, np.ndarray):
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != CROP_SHAPE:
            raise ImageError(f"faces are {faces.dtype} {faces.shape}, wanted uint8 (N, 112, 112, 3) BGR, aligned")
        return faces
    checked = [_check_face(face) for face in faces]
    return np.stack(checked) if checked else np.empty((0, *CROP_SHAPE), np.uint8)

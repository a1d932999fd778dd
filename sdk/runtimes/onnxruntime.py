"""onnxruntime: on the CPU, or on a CUDA device with the onnxruntime-gpu wheel."""

import hashlib
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import DeviceError, FiqaError, ModelError
from sdk.models.loading import Model
from sdk.models.store import cache_dir
from sdk.runtimes.prelu import VERSION, replace_prelu

logger = logging.getLogger(__name__)

CPU_BATCH = 8
"""Faces a call on the CPU; larger batches fall out of its caches."""

CUDA_BATCH = 64
"""Faces a call on a CUDA device."""


class OnnxRuntime:
    """A `sdk.runtimes.base.Runtime` on onnxruntime.

    On the CPU a call uses one core, and several callers share the session: that is faster than one caller with several
    cores. The session holds the model without PReLU nodes (`sdk.runtimes.prelu`).

    Args:
        model: The model, read and checked.
        device: `auto` (CUDA where it works, else the CPU), `cpu`, `cuda` or `cuda:1`.

    Raises:
        DeviceError: The device was asked for and is not there.
        ModelError: onnxruntime cannot load the file, or the file is not what its card says.
    """

    def __init__(self, model: Model, device: str = "auto") -> None:
        self._session, self.device = _create_session(model, device)
        self._input = self._session.get_inputs()[0].name
        fixed = self._session.get_inputs()[0].shape[0]
        self.batch = fixed if isinstance(fixed, int) else CPU_BATCH if self.device == "cpu" else CUDA_BATCH
        self._output = _check_session(self._session, model)

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """See `Runtime.run`."""
        scores = np.asarray(self._session.run([self._output], {self._input: batch})[0], dtype=np.float32)
        if scores.size != len(batch):
            raise ModelError(f"output {self._output!r} has shape {scores.shape} for {len(batch)} faces, wanted (N, 1)")
        return scores.reshape(-1)

    def close(self) -> None:
        """See `Runtime.close`."""
        del self._session


def _create_session(model: Model, device: str) -> tuple[Any, str]:
    import onnxruntime

    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise DeviceError(f"unknown device {device!r}, wanted auto, cpu, cuda or cuda:1")
    if kind == "cuda":
        return _cuda_session(model, int(index or 0)), f"cuda:{int(index or 0)}"
    if kind == "auto" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        try:
            session = _cuda_session(model, 0)
            logger.info("device auto: took cuda:0")
            return session, "cuda:0"
        except FiqaError as error:
            logger.warning("device auto: took cpu, because %s", error)
    elif kind == "auto":
        logger.info("device auto: took cpu, because this onnxruntime has no CUDA provider")
    return _open_session(_without_prelu(model.data), model, ["CPUExecutionProvider"]), "cpu"


def _cuda_session(model: Model, index: int) -> Any:
    import onnxruntime

    wanted = "CUDAExecutionProvider"
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise DeviceError(
            f"onnxruntime has the providers {', '.join(available)}, wanted {wanted}; "
            "uninstall onnxruntime and install fiqa[gpu], or use device='cpu'"
        )
    session = _open_session(model.data, model, [(wanted, {"device_id": index})])
    if wanted not in session.get_providers():
        raise DeviceError(
            f"cuda:{index} was asked for, but onnxruntime runs on {', '.join(session.get_providers())}; "
            "mostly a CUDA or cuDNN library is missing: run `fiqa doctor`, or use device='cpu'"
        )
    return session


def _open_session(source: bytes | Path, model: Model, providers: list[Any]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            str(source) if isinstance(source, Path) else source, options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # onnxruntime's errors have no base class of their own
        raise ModelError(f"onnxruntime cannot load {model.path}: {error}") from error


def _check_session(session: Any, model: Model) -> str:
    """Compare a session with the model's card; returns the name of the output."""
    spec = model.card.input
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ModelError(f"{model.path} has {len(inputs)} inputs, wanted one; export it with fiqa-export")
    size = (spec.height, spec.width, 3) if spec.layout == "NHWC" else (3, spec.height, spec.width)
    wanted_type = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}[spec.dtype]
    shape = inputs[0].shape
    fits = len(shape) == 4 and all(not isinstance(n, int) or n == m for n, m in zip(shape[1:], size, strict=True))
    if not fits or inputs[0].type != wanted_type:
        raise ModelError(
            f"{model.path} takes {inputs[0].type} {shape}, its card says {wanted_type} {['N', *size]}; correct the card"
        )
    names = [output.name for output in session.get_outputs()]
    name = model.card.output or (names[0] if len(names) == 1 else "")
    if name not in names:
        raise ModelError(f"{model.path} has the outputs {', '.join(names)}, its card says {name!r}; correct the card")
    return name


def _without_prelu(data: bytes) -> bytes | Path:
    """The rewritten model: a file in the cache, from which onnxruntime reads without a second copy in memory.

    The name holds the hashes of what was rewritten and of the result, so a damaged file is never taken.
    """
    folder = cache_dir() / "rewritten"
    prefix = f"{hashlib.sha256(data).hexdigest()[:32]}-{VERSION}-"
    with suppress(OSError):  # a cache that cannot be read is no cache
        for path in folder.glob(f"{prefix}*.onnx"):
            if _digest(path.read_bytes()) == path.stem.removeprefix(prefix):
                return path
    rewritten = replace_prelu(data)
    if rewritten is data:
        return data
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
            file.write(rewritten)
        path = folder / f"{prefix}{_digest(rewritten)}.onnx"
        os.replace(file.name, path)
    except OSError as error:
        logger.info("the rewritten model is kept in memory only: %s cannot be written (%s)", folder, error.strerror)
        return rewritten
    return path


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]

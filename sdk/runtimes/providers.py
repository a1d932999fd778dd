"""onnxruntime's execution providers, and the check that the requested one really runs."""

import ctypes
import hashlib
import logging
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from sdk.errors import DeviceError, ModelError
from sdk.files.cache import cache_dir
from sdk.models.formats import PRECISIONS
from sdk.models.loading import Model
from sdk.onnx_bytes.onnx_file import input_names
from sdk.runtimes.cuda.driver import gpu_architecture
from sdk.text import ONNXRUNTIME_EXTRAS

logger = logging.getLogger(__name__)

ONNXRUNTIME = r"onnxruntime([-_](gpu|openvino|directml|rocm|migraphx|qnn|cann|vitisai|silicon|training|azure|trt-rtx))?"
"""Pattern of the distributions that contain the module `onnxruntime`."""

RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"
"""Session setting with which a session can list the provider of each node (onnxruntime 1.24 and newer)."""

PROFILE = (1, 8, 64)
"""Smallest, best and largest batch of the engine that a TensorRT provider builds. All sizes between share it."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An execution provider.

    Attributes:
        name: onnxruntime's name.
        wheel: The distribution that contains it.
        libraries: Libraries that it needs besides.
        options: Provider options that never change.
        engine: File names of the TensorRT library; empty for a provider that builds no engine.
    """

    name: str
    wheel: str
    libraries: str
    options: Mapping[str, str] = field(default_factory=dict)
    engine: tuple[str, ...] = ()


PROVIDERS = {
    "cuda": Provider(
        "CUDAExecutionProvider",
        "onnxruntime-gpu (fiqa[gpu])",
        "CUDA and cuDNN",
        # By default onnxruntime tries every algorithm of a convolution, for each batch size: half of the start's time
        # again, for 2 % of speed (docs/performance-gpu.md).
        {"cudnn_conv_algo_search": "HEURISTIC"},
    ),
    "tensorrt": Provider(
        "TensorrtExecutionProvider",
        "onnxruntime-gpu (fiqa[gpu])",
        "TensorRT, CUDA and cuDNN",
        engine=("nvinfer_10.dll",) if sys.platform == "win32" else ("libnvinfer.so.10",),
    ),
    "tensorrt-rtx": Provider(
        "NvTensorRTRTXExecutionProvider",
        "an onnxruntime built with it (onnxruntime-trt-rtx)",
        "TensorRT-RTX and CUDA",
        engine=("tensorrt_rtx_1_0.dll",) if sys.platform == "win32" else ("libtensorrt_rtx.so.1",),
    ),
    "openvino-ep": Provider(
        "OpenVINOExecutionProvider",
        "onnxruntime-openvino",
        "nothing else",
        # Without this hint fp32 models are computed in bf16 if the CPU can.
        {"device_type": "CPU", "load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'},
    ),
}
"""By kind of device; see `sdk.runtimes.registry`."""


def load_onnxruntime() -> Any:
    """The module.

    Raises:
        DeviceError: It is not installed, or does not load.
    """
    try:
        return import_module("onnxruntime")
    except (ImportError, OSError) as error:
        raise DeviceError(f"onnxruntime cannot be loaded ({error}): pip install {ONNXRUNTIME_EXTRAS}") from error


def require_provider(kind: str, available: list[str]) -> Provider:
    """Return the provider for a kind of device.

    Raises:
        DeviceError: The installed onnxruntime does not have it.
    """
    provider = PROVIDERS[kind]
    if provider.name in available:
        return provider
    wheels = installed_wheels()
    clash = f"; installed are {', '.join(wheels)}, which overwrite each other's files" if len(wheels) > 1 else ""
    raise DeviceError(
        f"onnxruntime has the providers {', '.join(available)}, wanted {provider.name}{clash}; "
        f"pip uninstall {' '.join(wheel.split()[0] for wheel in wheels) or 'onnxruntime'}, "
        f"install {provider.wheel} alone, or use device='cpu'"
    )


def require_gpu(device: str, number: int) -> None:
    """Raise an error if there is no such GPU.

    Raises:
        DeviceError: There is no driver, or no GPU of this number.
    """
    if gpu_architecture(number) is not None:
        return
    if gpu_architecture(0) is not None:
        raise DeviceError(
            f"{device} was asked for, but there is no GPU {number} here; they are numbered from 0, and `nvidia-smi -L` "
            "lists them"
        )
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    raise DeviceError(
        f"{device} was asked for, but there is no GPU of NVIDIA with its driver here"
        f"{'' if hidden is None else f' (CUDA_VISIBLE_DEVICES is {hidden!r})'}: see whether `nvidia-smi` lists one, or "
        "use device='cpu'"
    )


def provider_options(kind: str, number: int, model: Model) -> dict[str, str]:
    """Return the options of a provider for a session.

    Args:
        kind: Key of `PROVIDERS`.
        number: Number of the GPU.
        model: The model; the name of its engine cache depends on its content.
    """
    provider = PROVIDERS[kind]
    options = dict(provider.options)
    if kind == "openvino-ep":
        return options
    options["device_id"] = str(number)
    if not provider.engine:
        # By default fp32 models are computed in TF32, with 10 bits of mantissa. With 0 the provider uses no tensor
        # cores at all, which costs fp16 models their speed.
        half = int(PRECISIONS[model.card.precision].float16)
        options["use_tf32"] = str(half)
        # Tensor cores take fp16 channels-last. By default the provider copies each convolution's input and output.
        options["prefer_nhwc"] = str(half)
        return options
    prefix = "trt" if kind == "tensorrt" else "nv"
    for name, size in zip(("min", "opt", "max"), PROFILE, strict=True):
        options[f"{prefix}_profile_{name}_shapes"] = _shape(model, size)
    folder = engine_cache(kind, number, model)
    if folder is None:
        return options
    if kind == "tensorrt":
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder}
        options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": folder}
    else:
        options["nv_runtime_cache_path"] = folder
    return options


def engine_cache(kind: str, number: int, model: Model) -> str | None:
    """Make the folder in which a provider keeps its engine: one for each model, library, GPU, precision and profile.

    Returns:
        The folder. None, with a line in the log, if the library's version or the GPU's architecture is unknown, or the
        cache cannot be written: then no engine is kept.
    """
    version, architecture = library_version(PROVIDERS[kind].engine), gpu_architecture(number)
    if version is None or architecture is None:
        logger.warning("engines of %s are not kept: %s", kind, "no library" if version is None else "no CUDA driver")
        return None
    parts = (hashlib.sha256(model.data).hexdigest(), kind, version, architecture, model.card.precision, *PROFILE)
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
    try:
        folder = cache_dir() / "engines" / key
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning("engines of %s are not kept: %s", kind, error)
        return None
    return str(folder)


def _shape(model: Model, batch: int) -> str:
    """Return the shape of the input as TensorRT's providers want it: `image:8x112x112x3`."""
    names = input_names(model.data)
    if len(names) != 1:
        raise ModelError(f"{model.path} takes {len(names)} inputs, wanted one; export it with fiqa-export")
    return f"{names[0]}:{'x'.join(map(str, (batch, *model.card.input.shape)))}"


def library_version(names: tuple[str, ...]) -> str | None:
    """Return the version of the TensorRT library that the system's loader finds; None if it finds none."""
    for name in names:
        try:
            return str(_load_library(name).getInferLibVersion())
        except (OSError, AttributeError):
            continue
    return None


def _load_library(name: str) -> ctypes.CDLL:
    """Load a TensorRT library by its name. That of a wheel is not where the loader looks, and its module loads it."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        with suppress(ImportError, OSError):
            import_module("tensorrt_rtx" if "rtx" in name else "tensorrt")
        return ctypes.CDLL(name)


def check_assignment(session: Any, provider: Provider, device: str) -> None:
    """Check that a session really runs on the requested provider.

    Raises:
        DeviceError: onnxruntime did not start the provider, or gave it no node of the model.
    """
    running = session.get_providers()
    if provider.name not in running:
        raise DeviceError(
            f"{device} was asked for, but onnxruntime runs on {', '.join(running)}; usually a library of "
            f"{provider.libraries} is missing: run `fiqa -v doctor`, or use device='cpu'"
        )
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return
    counts: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    if counts and provider.name not in counts:
        raise DeviceError(
            f"{device} was asked for, but {provider.name} takes none of the model's operators: {counts}; "
            "export the model for this device, or use device='cpu'"
        )
    others = {name: count for name, count in counts.items() if name != provider.name}
    if others:
        logger.warning("%s: %d operators on %s, the others on %s", device, counts[provider.name], provider.name, others)


def installed_wheels(pattern: str = ONNXRUNTIME) -> list[str]:
    """Return the installed distributions of one module, as `name version`. Two of them overwrite each other's files.

    Args:
        pattern: Regular expression for the lower-case name of a distribution.
    """
    from importlib import metadata  # imported late: 16 ms that a scorer does not need

    names = {dist.metadata["Name"]: dist.version for dist in metadata.distributions() if dist.metadata["Name"]}
    return sorted(f"{name} {version}" for name, version in names.items() if re.fullmatch(pattern, name.lower()))

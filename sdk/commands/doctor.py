"""fiqa doctor: look at versions, clashing packages, the cache, models and devices, and say what is wrong."""

import os
import platform
import tempfile
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.table import Column, Table

from sdk.commands.console import FAILED, cell
from sdk.errors import DeviceError, FiqaError
from sdk.files.cache import cache_dir
from sdk.models.catalog import catalog
from sdk.models.store import locate_model
from sdk.runtimes.cuda.driver import gpu_architecture, gpu_memory
from sdk.runtimes.cuda.libraries import CUDNN, cuda_version, missing_libraries
from sdk.runtimes.cuda.packages import INSTALL, cuda_package
from sdk.runtimes.providers import (
    ONNXRUNTIME,
    PROVIDERS,
    installed_wheels,
    library_version,
    load_onnxruntime,
)  # fmt: skip
from sdk.runtimes.registry import NUMBERED
from sdk.scorer import QualityScorer, available_cores
from sdk.text import ONNXRUNTIME_EXTRAS

PACKAGES = ("fiqa", "numpy", "pooch", "typer", "rich")
OPENCV = r"opencv[-_](contrib[-_])?python([-_]headless)?"
VARIABLES = ("FIQA_MODELS", "FIQA_CACHE", "FIQA_OFFLINE", "FIQA_MIRROR")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of what was found.

    Attributes:
        what: What was looked at.
        found: What was found.
        good: False when something is wrong.
        advice: What to do.
    """

    what: str
    found: str
    good: bool = True
    advice: str = ""


def doctor() -> None:
    """Look at versions, clashing packages, the cache, models and devices, and say what is wrong.

    On each device that a runtime offers one face is scored. Nothing is changed or downloaded. Exit code 1 when
    something is wrong.
    """
    findings = examine()
    table = Table(Column("", no_wrap=True), Column("found", overflow="fold"), Column("advice", overflow="fold"))
    for finding in findings:
        what = cell(finding.what) if finding.good else cell("wrong ", "red") + cell(finding.what)
        table.add_row(what, cell(finding.found), cell(finding.advice))
    Console().print(table)
    if not all(finding.good for finding in findings):
        raise typer.Exit(FAILED)


def examine() -> list[Finding]:
    """Look at everything; nothing is changed or downloaded."""
    found = [
        Finding("python", f"{platform.python_version()} on {platform.platform()}"),
        Finding("cores", str(available_cores())),
        *(_package(package) for package in PACKAGES),
        _wheels("onnxruntime", ONNXRUNTIME, ONNXRUNTIME_EXTRAS),
        _wheels("opencv", OPENCV, "opencv-python-headless"),
        _opencv(),
        *(Finding(name, os.environ[name]) for name in VARIABLES if name in os.environ),
        _cache(),
    ]
    found += [finding for name in catalog() if (finding := _model(name)) is not None]
    return found + _devices()


def _package(name: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        if _found("sdk" if name == "fiqa" else name):
            return Finding(name, "of an unknown version: not installed by pip")
        return Finding(name, "not installed", False, f"pip install {name}")


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _wheels(module: str, pattern: str, keep: str) -> Finding:
    """Find several packages that bring the same module: the one installed last overwrites the others' files."""
    wheels = installed_wheels(pattern)
    if len(wheels) == 1:
        return Finding(module, wheels[0])
    if not wheels:
        return Finding(module, "not installed by pip", False, f"pip install one of: {keep}")
    remove = " ".join(wheel.split()[0] for wheel in wheels)
    return Finding(
        module, ", ".join(wheels), False,
        f"they overwrite each other's files: pip uninstall {remove}, then install one ({keep})",
    )  # fmt: skip


def _opencv() -> Finding:
    """Import OpenCV, which needs libraries of the system in some of its packages."""
    try:
        import cv2
    except Exception as error:  # noqa: BLE001 - whatever a broken package raises
        advice = "pip install opencv-python-headless; it needs fewer libraries of the system than opencv-python"
        return Finding("cv2", f"cannot be imported: {error}", False, advice)
    return Finding("cv2", cv2.__version__)


def _cache() -> Finding:
    advice = "set FIQA_CACHE to a folder that can be written"
    folder: Path | str = "none"
    try:
        folder = cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    except OSError as error:
        return Finding("cache", f"{folder}: {error.strerror}", False, advice)
    return Finding("cache", f"{folder}, {size / 1e6:.1f} MB")


def _model(name: str) -> Finding | None:
    """Look at a model; None where it is not on this machine, which is no fault."""
    try:
        path = locate_model(name)
    except FiqaError as error:
        return Finding(f"model {name}", "damaged", False, str(error))
    return Finding(f"model {name}", str(path)) if path else None


def _devices() -> list[Finding]:
    """Score one face on every device that onnxruntime and OpenVINO offer, and say what really ran."""
    findings, wanted = [], []
    try:
        providers = load_onnxruntime().get_available_providers()
    except DeviceError as error:
        findings.append(Finding("onnxruntime", "cannot be loaded", False, str(error)))
    else:
        findings.append(Finding("providers offered", ", ".join(providers)))
        offered = PROVIDERS["cuda"].name in providers
        findings += _gpu(offered) if offered or gpu_architecture(0) is not None else []
        wanted += ["auto", "cpu", *(kind for kind, provider in PROVIDERS.items() if provider.name in providers)]
    wanted += ["openvino"] if _found("openvino") else []
    return findings + [_device(kind) for kind in wanted]


def _gpu(offered: bool) -> list[Finding]:
    """Say what of NVIDIA's is here, for a machine with a GPU or with a package for one.

    Args:
        offered: Whether onnxruntime has the CUDA provider.
    """
    architecture = gpu_architecture(0)
    found = [Finding("GPU", "none with its driver")]
    if architecture is not None:
        found = [Finding("GPU", f"compute capability {architecture}, {gpu_memory(0) / 1e9:.0f} GB")]
    if not offered:
        found.append(Finding("CUDA provider", "not in this onnxruntime", advice="pip install 'fiqa[gpu]' instead"))
    elif missing := missing_libraries():
        advice = "pip install 'fiqa[gpu]', which brings them"
        found.append(Finding("CUDA and cuDNN", f"no {', '.join(missing)}", architecture is None, advice))
    else:
        found.append(Finding("CUDA and cuDNN", f"CUDA {cuda_version()}, cuDNN {CUDNN}"))
    name = PROVIDERS["tensorrt"].engine
    version = library_version(name)
    advice = "" if version else "nothing, or pip install 'fiqa[tensorrt]' for device tensorrt and for engines"
    found.append(Finding("TensorRT", version or f"no {name[0]}", advice=advice))
    package, _ = cuda_package()
    words = {"cuda-bindings": "through cuda-bindings", "pycuda": "through pycuda, without CUDA graphs"}
    advice = "" if package == "cuda-bindings" else f"nothing, or for engines: {INSTALL}"
    found.append(Finding("engines", words.get(package, "neither cuda-bindings nor pycuda"), advice=advice))
    return found


def _device(kind: str) -> Finding:
    """Try a device that is offered. A missing one is no fault: packages for GPUs offer all that they could use."""
    try:
        with QualityScorer(device=kind, threads=1) as scorer:
            scorer.score(np.zeros((112, 112, 3), np.uint8))
            return Finding(f"device {kind}", f"runs on {scorer.device}")
    except FiqaError as error:
        if missing := _missing(kind):
            return Finding(f"device {kind}", f"not here: {missing}", advice=f"nothing, or install it to use {kind}")
        return Finding(f"device {kind}", "does not run", False, str(error))


def _missing(kind: str) -> str:
    """Return what a kind of device needs and this machine lacks; empty where it lacks nothing that is known."""
    if kind not in NUMBERED:
        return ""
    if gpu_architecture(0) is None:
        return "no GPU of NVIDIA with its driver"
    names = PROVIDERS[kind].engine
    return f"no {names[0]}" if names and library_version(names) is None else ""

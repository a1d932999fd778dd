"""What `fiqa doctor` looks at: versions, clashing packages, devices, the cache, models."""

import os
import platform
import tempfile
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

import numpy as np

from sdk.errors import FiqaError
from sdk.files import cache_dir
from sdk.models.catalog import catalog
from sdk.models.store import locate_model
from sdk.runtimes.providers import ONNXRUNTIME, PROVIDERS, installed_wheels
from sdk.scorer import QualityScorer, available_cores

PACKAGES = ("fiqa", "numpy", "pooch", "typer")
OPENCV = r"opencv[-_](contrib[-_])?python([-_]headless)?"
VARIABLES = ("FIQA_MODELS", "FIQA_CACHE", "FIQA_OFFLINE", "FIQA_MIRROR")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination.

    Attributes:
        what: What was looked at.
        found: What was found.
        good: False where something should be done.
        advice: What to do.
    """

    what: str
    found: str
    good: bool = True
    advice: str = ""


def examine() -> list[Finding]:
    """Look at everything; nothing is changed or downloaded."""
    found = [
        Finding("python", f"{platform.python_version()} on {platform.platform()}"),
        Finding("cores", str(available_cores())),
        *(Finding(package, metadata.version(package)) for package in PACKAGES),
        _wheels("onnxruntime", ONNXRUNTIME, "onnxruntime for CPU, onnxruntime-gpu for CUDA"),
        _wheels("opencv", OPENCV, "opencv-python-headless"),
        *(Finding(name, os.environ[name]) for name in VARIABLES if name in os.environ),
        _cache(),
    ]
    found += [finding for name in catalog() if (finding := _model(name)) is not None]
    return found + _devices()


def _wheels(module: str, pattern: str, keep: str) -> Finding:
    """Distributions that all bring one module: the one installed last overwrites the others' files."""
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


def _cache() -> Finding:
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("cache", f"{folder}: {error.strerror}", False, "set FIQA_CACHE to a folder that can be written")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Finding("cache", f"{folder}, {size / 1e6:.1f} MB")


def _model(name: str) -> Finding | None:
    """A model on this machine; None where it is not, for that is no fault."""
    try:
        path = locate_model(name)
    except FiqaError as error:
        return Finding(f"model {name}", "damaged", False, str(error))
    return Finding(f"model {name}", str(path)) if path else None


def _devices() -> list[Finding]:
    """Score one face on every device that onnxruntime and OpenVINO promise, and say what really ran."""
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    findings = [Finding("providers promised", ", ".join(providers))]
    wanted = ["auto", "cpu", *(kind for kind, provider in PROVIDERS.items() if provider.name in providers)]
    wanted += ["openvino"] if find_spec("openvino") else []
    for device in wanted:
        try:
            with QualityScorer(device=device, threads=1) as scorer:
                scorer.score(np.zeros((112, 112, 3), np.uint8))
                findings.append(Finding(f"device {device}", f"runs on {scorer.device}"))
        except FiqaError as error:
            findings.append(Finding(f"device {device}", "does not run", False, str(error)))
    return findings

"""The extras for NVIDIA's GPUs fit together, by the metadata of the wheels (tests/data/gpu_wheels.json)."""

import json
import re
from importlib import metadata
from pathlib import Path

import pytest

from tests.support.project import extras

WHEELS = json.loads((Path(__file__).parent / "data" / "gpu_wheels.json").read_text(encoding="utf-8"))
(GPU,) = extras()["gpu"]


def needs(text: str) -> str:
    return re.split(r"[~=<> ]", text)[0]


@pytest.mark.parametrize(("version", "suffix", "major"), [("1.31.1", "", "13"), ("1.23.2", "-cu12", "12")])
def test_the_extra_brings_all_that_the_cuda_provider_loads(version: str, suffix: str, major: str) -> None:
    wheel = WHEELS[f"onnxruntime-gpu {version}"]
    asked = re.search(r"\[(.*)\]", GPU)
    assert asked is not None
    brought = {needs(line): line for extra in asked[1].split(",") for line in wheel[extra]}
    cudnn = f"nvidia-cudnn-cu{major}"
    assert set(brought) == {
        cudnn, *(f"nvidia-{name}{suffix}" for name in ("cuda-nvrtc", "cuda-runtime", "cufft", "curand")),
    }  # fmt: skip
    assert brought[f"nvidia-cuda-runtime{suffix}"].endswith(f"~={major}.0")
    # The last library, cuBLAS, comes with cuDNN.
    (required,) = (found["requires"] for name, found in WHEELS.items() if name.split()[0] == cudnn)
    assert required == [f"nvidia-cublas{suffix}"]


@pytest.mark.parametrize(("python", "major"), [("3.10", "12"), ("3.11", "13")])
def test_tensorrt_has_the_cuda_of_onnxruntime(python: str, major: str) -> None:
    """On Python 3.10 the newest onnxruntime-gpu is 1.23, for CUDA 12."""
    newest = max(
        version for version, wheel in ((name.split()[1], found) for name, found in WHEELS.items() if "python" in found)
        if wheel["python"] == ">=3.10" or python != "3.10"
    )  # fmt: skip
    line = "".join(WHEELS[f"onnxruntime-gpu {newest}"]["cudnn"])
    assert f"cu{major}" in line
    lines = [
        line for line in extras()["tensorrt"] if f"python_version {'<' if python == '3.10' else '>='} '3.11'" in line
    ]
    assert {re.split(r"[<>=;]", line)[0] for line in lines} == {"cuda-bindings", f"tensorrt-cu{major}"}
    assert all("<11" in line for line in lines if line.startswith("tensorrt"))  # the provider loads libnvinfer.so.10
    (bindings,) = (line for line in lines if line.startswith("cuda-bindings"))
    assert f"<{int(major) + 1};" in bindings


def test_the_installed_onnxruntime_has_the_extras() -> None:
    try:
        found = metadata.metadata("onnxruntime-gpu")
    except metadata.PackageNotFoundError:
        pytest.skip("needs onnxruntime-gpu (fiqa[gpu])")
    assert {"cuda", "cudnn"} <= set(found.get_all("Provides-Extra") or [])

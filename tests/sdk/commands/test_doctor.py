"""`fiqa doctor` with parts missing, and devices that are promised and not here."""

from importlib import metadata
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from sdk import DeviceError, ModelError, QualityScorer
from sdk.commands import doctor
from sdk.models.loading import load_model
from sdk.runtimes import providers
from sdk.runtimes.cuda.libraries import missing_libraries
from sdk.runtimes.onnxruntime import OnnxRuntime

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


@pytest.fixture
def gpu_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that promises CUDA and TensorRT, and fails when a session is made: it finds no library."""
    session = onnxruntime.InferenceSession

    def make(source: Any, options: Any, providers: list[Any], **more: Any) -> Any:
        if providers != ["CPUExecutionProvider"]:
            raise RuntimeError("libcudart.so.12: cannot open shared object file")
        return session(source, options, providers=providers, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", make)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)


@pytest.fixture
def with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claim two GPUs."""
    monkeypatch.setattr(providers, "gpu_architecture", lambda number: "8.6" if number < 2 else None)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt"])
def test_without_a_gpu_each_device_is_a_device_error(
    gpu_package: None, device: str, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "gpu_architecture", lambda number: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    words = r"was asked for, but there is no GPU .*CUDA_VISIBLE_DEVICES is ''.*nvidia-smi.*use device='cpu'"
    with pytest.raises(DeviceError, match=words):
        QualityScorer(tiny_path, device)


def test_a_gpu_of_a_number_that_is_not_there(gpu_package: None, with_gpus: None, tiny_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"cuda:2 was asked for, but there is no GPU 2 here.*nvidia-smi -L"):
        QualityScorer(tiny_path, "cuda:2")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt"])
def test_a_device_that_was_asked_for_is_a_device_error(
    gpu_package: None, with_gpus: None, device: str, tiny_path: Path
) -> None:
    with pytest.raises(DeviceError, match=r"was asked for, but onnxruntime cannot start .*libcudart.*use device='cpu'"):
        QualityScorer(tiny_path, device)


def test_auto_takes_the_cpu_and_says_so(gpu_package: None, tiny_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with QualityScorer(tiny_path) as scorer:
        assert scorer.device == "cpu"
    assert "device auto: took cpu, because cuda:0 was asked for" in caplog.text


def test_a_model_that_no_device_loads_is_a_model_error(
    gpu_package: None, with_gpus: None, tmp_path: Path, tiny_path: Path
) -> None:
    import onnx

    model = onnx.load(tiny_path)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match="cannot load"):
        OnnxRuntime(load_model(tmp_path / "odd.onnx"), "cuda")


def found(what: str) -> doctor.Finding:
    return next(finding for finding in doctor.examine() if finding.what == what)


def test_what_is_promised_and_not_here_is_no_fault(gpu_package: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "gpu_architecture", lambda number: None)
    assert found("device cuda").found == "not here: no GPU of NVIDIA with its driver"
    assert all(finding.good for finding in doctor.examine() if finding.what.startswith("device"))
    for module in (doctor, providers):
        monkeypatch.setattr(module, "gpu_architecture", lambda number: "8.6")
    monkeypatch.setattr(doctor, "library_version", lambda names: None)
    assert (found("device tensorrt").good, found("device cuda").good) == (True, False)


@pytest.mark.parametrize(
    ("missing", "package", "words"),
    [
        ([], "cuda-bindings", ("CUDA 13.0, cuDNN 9", "through cuda-bindings", "")),
        (["libcudnn.so.9"], "pycuda", ("no libcudnn.so.9", "through pycuda, without CUDA graphs", "cuda-bindings")),
        ([], "", ("CUDA 13.0, cuDNN 9", "neither cuda-bindings nor pycuda", "pip install cuda-bindings, or pycuda")),
    ],
)
def test_what_a_gpu_needs_is_named(
    missing: list[str], package: str, words: tuple[str, str, str], gpu_package: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "gpu_architecture", lambda number: "9.0")
    monkeypatch.setattr(doctor, "gpu_memory", lambda number: 80_000_000_000)
    monkeypatch.setattr(doctor, "missing_libraries", lambda: missing)
    monkeypatch.setattr(doctor, "cuda_version", lambda: "13.0")
    monkeypatch.setattr(doctor, "cuda_package", lambda: (package, ""))
    monkeypatch.setattr(doctor, "library_version", lambda names: None)
    lines = {finding.what: finding for finding in doctor._gpu(True)}
    assert lines["GPU"].found == "compute capability 9.0, 80 GB"
    assert (lines["CUDA and cuDNN"].found, lines["CUDA and cuDNN"].good) == (words[0], not missing)
    assert lines["engines"].found == words[1]
    assert words[2] in lines["engines"].advice
    assert "fiqa[tensorrt]" in lines["TensorRT"].advice
    assert doctor._gpu(False)[1].advice == "pip install 'fiqa[gpu]' instead"


def test_libraries_that_are_not_here(gpu_package: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "cuda_version", "99.1", raising=False)
    missing = missing_libraries()
    assert [name for name in missing if "99" in name] == ["libcudart.so.99", "libcublas.so.99"]


def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match=r"pip install 'fiqa\[cpu\]', or 'fiqa\[gpu\]'"):
        QualityScorer()
    (wrong,) = [one for one in doctor.examine() if one.what == "onnxruntime" and not one.good]
    assert "pip install 'fiqa[cpu]'" in wrong.advice


def test_without_any_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing)
    assert found("pooch").good
    monkeypatch.setattr(doctor, "_found", lambda name: name != "pooch")
    assert (found("pooch").good, found("pooch").advice) == (False, "pip install pooch")


def test_a_cache_that_is_nowhere(monkeypatch: pytest.MonkeyPatch, tiny_path: Path) -> None:
    def nowhere() -> Path:
        raise FileNotFoundError(2, "there is no home folder; set FIQA_CACHE")

    monkeypatch.setattr(doctor, "cache_dir", nowhere)
    monkeypatch.setattr(providers, "cache_dir", nowhere)
    monkeypatch.setattr(providers, "library_version", lambda names: "10")
    monkeypatch.setattr(providers, "gpu_architecture", lambda number: "8.6")
    assert (found("cache").good, "no home folder" in found("cache").found) == (False, True)
    assert providers.engine_cache("tensorrt", 0, load_model(tiny_path)) is None

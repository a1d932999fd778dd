"""Rules for each execution provider, with simulated sessions in the place of the hardware."""

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest

from sdk import DeviceError, ModelError, QualityScorer
from sdk.models.loading import Model, load_model
from sdk.runtimes import onnxruntime as runtime
from sdk.runtimes import providers
from sdk.runtimes.onnxruntime import OnnxRuntime
from sdk.runtimes.registry import open_runtime, parse_device
from tests.support.tiny_models import faces

NAMES = {kind: provider.name for kind, provider in providers.PROVIDERS.items()}
GPU = ("cuda", "tensorrt", "tensorrt-rtx")
Session = onnxruntime.InferenceSession


class Fake:
    """A session on the CPU that claims other providers, and keeps its arguments."""

    def __init__(self, *args: Any, providers: list[Any], **options: Any) -> None:
        Fake.asked = providers
        self._session = Session(*args, providers=["CPUExecutionProvider"], **options)

    asked: ClassVar[list[Any]] = []
    running: ClassVar[list[str]] = []
    nodes: ClassVar[dict[str, int]] = {}

    def get_providers(self) -> list[str]:
        return self.running

    def get_provider_graph_assignment_info(self) -> list[Any]:
        def part(name: str, count: int) -> Any:
            return SimpleNamespace(ep_name=name, get_nodes=lambda: [None] * count)

        return [part(name, count) for name, count in self.nodes.items()]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    """Make onnxruntime claim every provider."""
    available = [*NAMES.values(), "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fake)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(runtime, "MEMORY", "cpu")  # without a GPU the same code runs with buffers in main memory
    monkeypatch.setattr(runtime, "gpu_memory", lambda number: 16 << 30)
    monkeypatch.setattr(providers, "library_version", lambda names: "101300")
    monkeypatch.setattr(providers, "gpu_architecture", lambda number: "8.6")
    Fake.running, Fake.nodes = available, dict.fromkeys(NAMES.values(), 1)
    return Fake


@pytest.mark.parametrize("kind", NAMES)
def test_what_really_runs_is_the_device(kind: str, tiny_path: Path, fake: type[Fake]) -> None:
    fake.nodes = {NAMES[kind]: 12}
    expected = QualityScorer(tiny_path, "cpu").score_batch(faces(5))
    with QualityScorer(tiny_path, kind) as scorer:
        assert scorer.device == (f"{kind}:0" if kind in GPU else kind)
        assert scorer.precision == "fp32"
        assert fake.asked[0][0] == NAMES[kind]
        np.testing.assert_allclose(scorer.score_batch(faces(5)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", NAMES)
def test_a_provider_that_onnxruntime_dropped(kind: str, tiny_path: Path, fake: type[Fake]) -> None:
    fake.running = ["CPUExecutionProvider"]
    with pytest.raises(DeviceError, match=r"was asked for, but onnxruntime runs on CPU.*use device='cpu'"):
        QualityScorer(tiny_path, kind)


@pytest.mark.parametrize("kind", NAMES)
def test_a_provider_without_a_node(kind: str, tiny_path: Path, fake: type[Fake]) -> None:
    fake.nodes = {"CPUExecutionProvider": 12}
    with pytest.raises(DeviceError, match=rf"{NAMES[kind]} takes none of the model's operators"):
        QualityScorer(tiny_path, kind)


def test_a_share_on_another_provider_is_said(
    tiny_path: Path, fake: type[Fake], caplog: pytest.LogCaptureFixture
) -> None:
    fake.nodes = {"CUDAExecutionProvider": 11, "CPUExecutionProvider": 1}
    with caplog.at_level(logging.WARNING, "sdk"):
        QualityScorer(tiny_path, "cuda:1")
    assert "cuda:1: 11 operators on CUDAExecutionProvider, the others on {'CPUExecutionProvider': 1}" in caplog.text


@pytest.mark.parametrize("kind", NAMES)
def test_a_provider_that_is_not_there(kind: str, tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match=rf"wanted {NAMES[kind]}; pip uninstall onnxruntime.*, install .*onnxruntime"):
        QualityScorer(tiny_path, kind)


def test_two_wheels_are_named_where_a_provider_is_missing(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(providers, "installed_wheels", lambda: ["onnxruntime 1.20", "onnxruntime-gpu 1.20"])
    with pytest.raises(DeviceError, match=r"onnxruntime-gpu 1\.20, which overwrite each other's files; pip uninstall"):
        QualityScorer(tiny_path, "cuda")


def test_options(tiny_path: Path, fake: type[Fake], own_store: Path) -> None:
    model = load_model(tiny_path)
    search = {"cudnn_conv_algo_search": "HEURISTIC"}
    exact = {"use_tf32": "0", "prefer_nhwc": "0"}
    assert providers.provider_options("cuda", 1, model) == {"device_id": "1", **exact, **search}
    half = replace(model, card=replace(model.card, precision="fp16"))
    tensor_cores = {"use_tf32": "1", "prefer_nhwc": "1"}
    assert providers.provider_options("cuda", 1, half) == {"device_id": "1", **tensor_cores, **search}
    found = providers.provider_options("tensorrt", 0, model)
    assert found["trt_profile_min_shapes"] == "image:1x112x112x3"
    assert found["trt_profile_max_shapes"] == "image:64x112x112x3"
    assert Path(found["trt_engine_cache_path"]).parent == own_store / "engines"
    assert providers.provider_options("tensorrt-rtx", 0, model)["nv_runtime_cache_path"]
    assert "f32" in providers.provider_options("openvino-ep", 0, model)["load_config"]


def test_each_engine_has_its_own_cache(tiny_path: Path, fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(tiny_path)
    folders = {providers.engine_cache("tensorrt", 0, model)}
    folders |= {providers.engine_cache("tensorrt-rtx", 0, model)}
    folders |= {providers.engine_cache("tensorrt", 0, Model(model.data + b" ", model.card, model.path))}
    with monkeypatch.context() as patch:
        patch.setattr(providers, "library_version", lambda names: "101400")
        folders |= {providers.engine_cache("tensorrt", 0, model)}
    with monkeypatch.context() as patch:
        patch.setattr(providers, "gpu_architecture", lambda number: "8.9")
        folders |= {providers.engine_cache("tensorrt", 0, model)}
    assert len(folders) == 5
    assert providers.engine_cache("tensorrt", 0, model) in folders


def test_without_library_or_driver_no_engine_is_kept(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert providers.library_version(("libthere_is_none.so",)) is None
    monkeypatch.setattr(providers, "library_version", lambda names: None)
    assert providers.engine_cache("tensorrt", 0, load_model(tiny_path)) is None


@pytest.mark.parametrize("words", ["CUDA failure 2: out of memory", "BFCArena: Failed to allocate memory for 9 bytes"])
def test_memory_that_is_not_enough(words: str, tiny_path: Path) -> None:
    engine = OnnxRuntime(load_model(tiny_path), "cpu")

    class Full:
        def run(self, *args: Any) -> None:
            raise RuntimeError(words)

    engine._session = Full()
    with pytest.raises(DeviceError, match="cpu has not enough memory for 3 faces"):
        engine.run(faces(3))


def test_input_of_another_shape(tiny_path: Path) -> None:
    with pytest.raises(ModelError, match="onnxruntime cannot run the model on cpu"):
        OnnxRuntime(load_model(tiny_path), "cpu").run(faces(1)[:, :50])


@pytest.mark.parametrize(
    ("device", "expected"),
    [("auto", ("auto", 0)), ("tensorrt:3", ("tensorrt", 3)), ("openvino-ep", ("openvino-ep", 0))],
)
def test_devices(device: str, expected: tuple[str, int]) -> None:
    assert parse_device(device) == expected


@pytest.mark.parametrize("device", ["gpu", "openvino:1", "cpu:0", "cuda:", "cuda:-1", "cuda:²", "tensorrt:x", ""])
def test_devices_that_there_are_not(device: str) -> None:
    with pytest.raises(DeviceError, match="unknown device"):
        parse_device(device)


@pytest.mark.parametrize(("precision", "device"), [("fp16", "cpu"), ("bf16", "cpu"), ("int8", "openvino")])
def test_precision_is_in_the_file(precision: str, device: str, tiny_path: Path) -> None:
    with pytest.raises(DeviceError, match="precision is in the file"):
        open_runtime(load_model(tiny_path), device, precision=precision)


def test_a_library_of_a_wheel_is_loaded_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip puts TensorRT's library where the loader does not look; once its module has loaded it, its name is enough."""
    imported: list[str] = []

    def load(name: str) -> SimpleNamespace:
        if not imported:
            raise OSError(f"{name}: cannot open shared object file")
        return SimpleNamespace(getInferLibVersion=lambda: 101601)

    monkeypatch.setattr(providers.ctypes, "CDLL", load)
    monkeypatch.setattr(providers, "import_module", imported.append)
    assert providers.library_version(("libnvinfer.so.10",)) == "101601"
    assert imported == ["tensorrt"]

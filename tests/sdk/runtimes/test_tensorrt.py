"""TensorRT engines, on a simulated GPU and libraries (`fake_gpu`); tests marked `gpu` use the real ones."""

import inspect
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from sdk import DeviceError, ModelError, QualityScorer
from sdk.runtimes.cuda import with_bindings
from sdk.runtimes.cuda.driver import gpu_architecture
from sdk.runtimes.cuda.packages import open_cuda
from sdk.runtimes.cuda.with_bindings import BindingsCuda
from sdk.runtimes.tensorrt_library import LIBRARIES, load_library
from tests.support import fake_gpu
from tests.support.fake_gpu import Driver, Library, install, write_engine
from tests.support.tiny_models import faces


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return install(monkeypatch, Driver())


def means(batch: np.ndarray) -> np.ndarray:
    """Return the scores of the simulated engine."""
    return batch.mean((1, 2, 3))


@pytest.mark.parametrize("style", LIBRARIES)
@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 8, 9, 30])
def test_scores_of_the_stand_in(style: str, count: int, tmp_path: Path, gpu: Driver) -> None:
    with QualityScorer(write_engine(tmp_path, style), trust=True) as scorer:
        assert (scorer.device, scorer.precision) == (f"{style}:0", "fp16")
        batch = faces(count)
        np.testing.assert_allclose(scorer.score_batch(batch), means(batch), rtol=1e-6)
        assert scorer.score(faces(1, 5)[0]) == pytest.approx(means(faces(1, 5))[0])


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:1", "tensorrt:1"])
def test_devices_of_engines(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Driver(("8.6", "8.6")))
    with QualityScorer(write_engine(tmp_path), device, trust=True) as scorer:
        assert scorer.device == f"tensorrt:{1 if '1' in device else 0}"


@pytest.mark.parametrize("device", ["cpu", "tensorrt-rtx", "openvino"])
def test_devices_that_engines_do_not_run_on(device: str, tmp_path: Path, gpu: Driver) -> None:
    with pytest.raises(DeviceError, match="is a file for tensorrt, which runs on auto, cuda, tensorrt, not on"):
        QualityScorer(write_engine(tmp_path), device, trust=True)


def test_memory_does_not_grow_with_the_stand_in(tmp_path: Path, gpu: Driver) -> None:
    with QualityScorer(write_engine(tmp_path), trust=True) as scorer:
        held, free = len(gpu.held), gpu.free
        for count in (1, 8, 3, 40, 2):
            scorer.score_batch(faces(count))
        scorer.warmup()
        assert (len(gpu.held), gpu.free) == (held, free)
    assert not gpu.held
    assert gpu.free == 1 << 30


def test_fixed_batches_are_graphs_in_the_stand_in(tmp_path: Path, gpu: Driver) -> None:
    with QualityScorer(write_engine(tmp_path), trust=True) as scorer:
        scorer.score_batch(faces(3))
    assert gpu.launches == 1
    assert set(Library.settings) == {fake_gpu.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE}


def test_a_stand_in_that_refuses_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver = install(monkeypatch, Driver())
    driver.refuse_graphs = True
    with QualityScorer(write_engine(tmp_path), trust=True) as scorer:
        np.testing.assert_allclose(scorer.score_batch(faces(3)), means(faces(3)), rtol=1e-6)
    assert "runs without a CUDA graph, which is slower" in caplog.text
    assert driver.launches == 0


def test_rtx_keeps_its_kernels_in_the_stand_in(tmp_path: Path, gpu: Driver, own_store: Path) -> None:
    path = write_engine(tmp_path, "tensorrt-rtx")
    QualityScorer(path, trust=True).close()
    (kept,) = (own_store / "engines").glob("*.kernels")
    assert kept.read_bytes() == b"compiled"
    assert not Library.kernels
    QualityScorer(path, trust=True).close()
    assert Library.kernels == [b"compiled"]
    strategies = {settings.cuda_graph_strategy for settings in Library.settings}
    assert strategies == {fake_gpu.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE}


def test_threads_share_an_engine_of_the_stand_in(tmp_path: Path, gpu: Driver) -> None:
    owners = set()
    original = gpu.cuGraphLaunch

    def launch(graph: int, stream: int) -> tuple[object]:
        owners.add(threading.get_ident())
        return original(graph, stream)

    gpu.cuGraphLaunch = launch  # type: ignore[method-assign, assignment]
    with QualityScorer(write_engine(tmp_path), trust=True) as scorer, ThreadPoolExecutor(8) as pool:
        batches = [faces(1 + seed % 8, seed) for seed in range(40)]
        for batch, scores in zip(batches, pool.map(scorer.score_batch, batches), strict=True):
            np.testing.assert_allclose(scores, means(batch), rtol=1e-6)
    assert len(owners) == 1


@pytest.mark.parametrize(
    ("card", "gpus", "words"),
    [
        ({"version": "10.3.0"}, ("8.6",), r"was built by tensorrt 10\.3\.0, installed is"),
        ({}, ("12.0",), r"compute capability 8\.6, this one has 12\.0"),
    ],
)
def test_an_engine_that_does_not_fit_is_never_loaded(
    card: dict[str, str], gpus: tuple[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = install(monkeypatch, Driver(gpus))
    with pytest.raises(ModelError, match=words + ".*fiqa-export --model tiny"):
        QualityScorer(write_engine(tmp_path, card=card), trust=True)
    assert not Library.loaded
    assert not driver.held


def test_the_second_gpu_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Driver(("8.6", "12.0")))
    with pytest.raises(ModelError, match=r"this one has 12\.0"):
        QualityScorer(write_engine(tmp_path), "cuda:1", trust=True)


@pytest.mark.parametrize(
    ("driver", "device", "words"),
    [
        (Driver(()), "cuda", "cuda:0 was asked for, but there is no CUDA here"),
        (Driver(), "cuda:1", "cuda:1 was asked for, but there are 1 GPUs"),
        (Driver(memory=100_000), "cuda", r"not enough memory \(cuMemAlloc.*smaller batches"),
    ],
)
def test_a_gpu_that_is_not_there_or_full(
    driver: Driver, device: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, driver)
    with pytest.raises(DeviceError, match=words):
        QualityScorer(write_engine(tmp_path), device, trust=True)
    assert not driver.held


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ({"too_large": True}, DeviceError, r"not enough memory to take memory for .*OutOfMemory"),
        ({"fails": True}, ModelError, r"cannot run .*illegal address.; build it again"),
        ({"type": "float32"}, ModelError, r"takes faces float32 \(N, 112, 112, 3\).*card says one input uint8"),
        ({"shape": [112, 112, 4]}, ModelError, r"takes faces uint8 \(N, 112, 112, 4\)"),
        ({"profiles": [[1, 4]]}, ModelError, "takes no batch of 8, as its card says"),
    ],
)
def test_what_the_stand_in_of_the_library_refuses(
    content: dict[str, object], error: type[Exception], words: str, tmp_path: Path, gpu: Driver
) -> None:
    with pytest.raises(error, match=words):
        QualityScorer(write_engine(tmp_path, **content), trust=True)
    assert not gpu.held


def test_without_the_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match=r"TensorRT cannot be loaded .*fiqa\[tensorrt\].*JetPack"):
        QualityScorer(write_engine(tmp_path), trust=True)
    monkeypatch.setitem(sys.modules, "tensorrt", Library("tensorrt", Driver()))  # type: ignore[misc]
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="neither cuda-bindings nor pycuda can be loaded"):
        QualityScorer(write_engine(tmp_path), trust=True)


def test_without_a_gpu() -> None:
    pytest.importorskip("cuda.bindings.driver", reason="needs cuda-bindings (fiqa[tensorrt-rtx])")
    if gpu_architecture(0) is not None:
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match="cuda:0 was asked for, but there is no CUDA here"):
        BindingsCuda(0)


def test_the_stand_in_has_the_functions_of_the_real_driver() -> None:
    driver = pytest.importorskip("cuda.bindings.driver", reason="needs cuda-bindings (fiqa[tensorrt-rtx])")
    called = re.findall(r'"(cu[A-Z]\w+)"', Path(with_bindings.__file__).read_text())
    assert len(called) > 15
    for name in called:
        parameters = len(inspect.signature(getattr(Driver, name)).parameters) - 1
        signature = re.search(rf"{name}\((.*?)\)", getattr(driver, name).__doc__)
        assert signature is not None
        assert len(list(filter(None, signature[1].split(",")))) == parameters, name


def test_the_stand_in_has_the_interface_of_the_real_library() -> None:
    library = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx (fiqa[tensorrt-rtx])")
    for part in fake_gpu.CLASSES:
        real = getattr(library, part.__name__)
        wanted = [name for name in vars(part) if not name.startswith("_") and name != "content"]
        assert [name for name in wanted if not hasattr(real, name)] == [], part
    for part in fake_gpu.ENUMERATIONS:
        assert set(part.__members__) <= set(getattr(library, part.__name__).__members__), part
    for name in ("num_optimization_profiles", "num_io_tensors"):
        assert hasattr(library.ICudaEngine, name)


@pytest.mark.gpu
@pytest.mark.parametrize("style", LIBRARIES)
def test_an_engine_on_a_real_gpu(style: str, tmp_path: Path) -> None:
    """Build an engine of the tiny model for this machine's GPU, and compare its scores with onnxruntime's."""
    try:
        load_library(style)
        cuda = open_cuda(0)
    except DeviceError as error:
        pytest.skip(str(error))
    cuda.close()
    from tests.support.tiny_models import tiny_card, tiny_model

    build = import_module("export.engines.tensorrt").build_engine
    options = import_module("export.settings").EngineOptions((1, 4))
    model = tiny_model(tiny_card())
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{index}"
    data = model.SerializeToString()
    (tmp_path / "tiny.onnx").write_bytes(data)
    built = build(data, tiny_card(), style, None, options)
    path = tmp_path / "tiny.engine"
    path.write_bytes(built.data)
    path.with_suffix(".json").write_text(built.card.to_json())
    with QualityScorer(tmp_path / "tiny.onnx", "cpu") as scorer:
        expected = scorer.score_batch(faces(11))
    with QualityScorer(path) as scorer:
        np.testing.assert_allclose(scorer.score_batch(faces(11)), expected, rtol=0, atol=1e-4)

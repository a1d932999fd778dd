"""Engines through pycuda, on the simulated GPU; and which package is taken."""

import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from sdk import DeviceError, QualityScorer
from sdk.runtimes.cuda import with_pycuda
from sdk.runtimes.cuda.packages import cuda_package, open_cuda
from sdk.runtimes.cuda.with_bindings import BindingsCuda
from tests.support import fake_gpu, fake_pycuda
from tests.support.fake_gpu import Driver, write_engine
from tests.support.fake_pycuda import SIGNATURES, Pycuda
from tests.support.tiny_models import faces


@pytest.fixture
def pycuda(monkeypatch: pytest.MonkeyPatch) -> Pycuda:
    driver = fake_gpu.install(monkeypatch, Driver(("8.7",)))
    return fake_pycuda.install(monkeypatch, driver)


def test_cuda_bindings_are_preferred(pycuda: Pycuda, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cuda_package()[0] == "pycuda"
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", pycuda.driver)  # type: ignore[misc]
    assert cuda_package() == ("cuda-bindings", "")
    cuda = open_cuda(0)
    assert isinstance(cuda, BindingsCuda)
    cuda.close()


def test_without_either(pycuda: Pycuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match=r"neither cuda-bindings nor pycuda .*pip install cuda-bindings, or pycuda"):
        open_cuda(0)


def test_an_engine_runs_through_pycuda(pycuda: Pycuda, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_engine(tmp_path, card={"architectures": ["8.7"]})
    with caplog.at_level("INFO", "sdk"), QualityScorer(path, trust=True) as scorer:
        held = len(pycuda.driver.held)
        for count in (1, 3, 8, 20):
            np.testing.assert_allclose(scorer.score_batch(faces(count)), faces(count).mean((1, 2, 3)), rtol=1e-6)
        assert len(pycuda.driver.held) == held
    assert "driven by pycuda" in caplog.text
    assert "pycuda has no CUDA graphs; install cuda-bindings for them" in caplog.text
    assert not pycuda.driver.held
    assert not pycuda.contexts
    assert pycuda.driver.free == 1 << 30


@pytest.mark.parametrize(
    ("driver", "number", "words"),
    [
        (Driver(()), 0, "cuda:0 was asked for, but there is no CUDA here .*no CUDA-capable device"),
        (Driver(), 1, "cuda:1 was asked for, but there are 1 GPUs, numbered from 0"),
    ],
)
def test_a_gpu_that_is_not_there(driver: Driver, number: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pycuda.install(monkeypatch, driver)
    with pytest.raises(DeviceError, match=words):
        open_cuda(number)
    assert not driver.held


def test_a_full_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pycuda.install(monkeypatch, driver := Driver(memory=100))
    cuda = open_cuda(0)
    with pytest.raises(DeviceError, match=r"cuda:0 has not enough memory .*end other programs on it"):
        cuda.allocate(101)
    cuda.close()
    assert not driver.held


def test_all_that_is_called_is_in_the_table() -> None:
    """What is compared with pycuda below is all that the adapter calls."""
    text = inspect.getsource(with_pycuda)
    called = set(re.findall(r"self\._pycuda\.(\w+)", text)) | set(
        re.findall(r"(?:device|context|owner|_stream|allocation)\.(\w+)", text)
    )
    named = {part for name in SIGNATURES for part in name.split(".")} | {"Error", "MemoryError", "handle"}
    assert called - named == set()
    assert len(called) > 12


def test_the_stand_in_has_the_signatures() -> None:
    module = Pycuda(Driver())
    for name, most in SIGNATURES.items():
        owner, _, method = name.rpartition(".")
        found = getattr(getattr(module, owner), method) if owner else getattr(module, method)
        names = [parameter for parameter in inspect.signature(found).parameters if parameter != "self"]
        if method == "__init__" or "Allocation" not in owner:
            assert len(names) == most, name


def test_pycuda_itself_has_the_signatures() -> None:
    """Boost.Python writes the arguments into the docstrings: `init( [(int)flags=0]) -> None`."""
    driver = pytest.importorskip("pycuda.driver", reason="needs pycuda (fiqa[pycuda])", exc_type=ImportError)
    for name, most in SIGNATURES.items():
        owner, _, method = name.rpartition(".")
        found = getattr(getattr(driver, owner), method) if owner else getattr(driver, method)
        counts = {len(re.findall(r"\([\w.]+\)", line)) for line in (found.__doc__ or "").splitlines() if "->" in line}
        static = name in ("Device.count", "Context.pop") or not owner
        assert most + (not static) in counts, (name, found.__doc__)
    assert issubclass(driver.MemoryError, driver.Error)
    assert hasattr(driver.Stream, "handle")

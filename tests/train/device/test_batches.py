"""Functions of batches on a device: what a GPU would wait for is counted with a stand-in for it."""

import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from train.device import batches
from train.device.batches import OnDevice
from train.device.precision import exact_float32

CPU = torch.device("cpu")


class Counted:
    """Row sums, doubled in halves; records the shapes and the threads that it is called with."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.threads: set[int] = set()
        self.exact: set[bool] = set()

    def __call__(self, rows: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        self.shapes.append(tuple(rows.shape))
        self.threads.add(threading.get_ident())
        self.exact.add(torch.backends.cudnn.allow_tf32)
        return rows.sum(1) * factors, rows.clone()


class Gpu:
    """Stands for torch.cuda: streams and events do nothing, and a graph computes again what it was made of."""

    def __init__(self) -> None:
        self.captures = self.replays = 0
        self.streams: list[object] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gpu = self

        class Event:
            def __init__(self, blocking: bool) -> None:
                assert blocking

            def record(self) -> None: ...
            def synchronize(self) -> None: ...

        class Graph:
            def replay(self) -> None:
                gpu.replays += 1
                shaped = self.shaped
                for kept, new in zip(shaped._outputs, shaped._work(*shaped._inputs), strict=True):
                    kept.copy_(new)

            shaped: Any

        capture = batches._Shaped._capture

        def captured(shaped: Any) -> None:
            capture(shaped)
            if shaped._graph is not None:
                shaped._graph.shaped = shaped

        @contextmanager
        def graph(made: Graph, stream: object, capture_error_mode: str) -> Iterator[None]:
            assert capture_error_mode == "thread_local"
            gpu.captures += 1
            yield

        monkeypatch.setattr(batches._Shaped, "_capture", captured)
        for name, value in {
            "Stream": lambda device: None, "current_stream": lambda device: "before",
            "synchronize": lambda device: None, "set_stream": gpu.streams.append,
            "stream": lambda stream: nullcontext(), "Event": Event,
            "device": lambda device: nullcontext(), "CUDAGraph": Graph, "graph": graph, "empty_cache": lambda: None,
        }.items():  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, value)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    made = Gpu()
    made.install(monkeypatch)
    return made


def owned(work: Any, largest: int | None = None) -> OnDevice:
    """On a CPU, as on a GPU."""
    made = OnDevice(work, CPU, largest)
    made._owned = True
    return made


def rows(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    made = torch.from_numpy(np.random.default_rng(seed).random((count, 3), np.float32))
    return made, torch.arange(count, dtype=torch.float32)


def test_on_a_cpu_the_callers_thread_takes_batches_as_they_are() -> None:
    work = Counted()
    values, factors = rows(5)
    sums, same = OnDevice(work, CPU, largest=2)(values, factors)
    np.testing.assert_array_equal(sums, (values.sum(1) * factors).numpy())
    np.testing.assert_array_equal(same, values.numpy())
    assert work.shapes == [(5, 3)]
    assert work.threads == {threading.get_ident()}


def test_on_a_gpu_one_thread_sees_one_shape_and_python_runs_twice(gpu: Gpu) -> None:
    """Many threads, whole batches and a smaller one: the function is called once, captured once, then replayed."""
    work, sizes = Counted(), [4, 4, 4, 3, 4, 1]
    on_device = owned(work)
    on_device(*rows(4))
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda seed: on_device(*rows(sizes[seed], seed)), range(len(sizes))))
    for seed, (sums, same) in enumerate(found):
        values, factors = rows(sizes[seed], seed)
        np.testing.assert_array_equal(sums, (values.sum(1) * factors).numpy())
        np.testing.assert_array_equal(same, values.numpy())
    assert set(work.shapes) == {(4, 3)}
    assert (gpu.captures, gpu.replays) == (1, len(sizes))
    assert len(work.threads) == 1
    assert threading.get_ident() not in work.threads


def test_a_large_batch_is_cut_and_memory_halves_it(gpu: Gpu) -> None:
    work = Counted()

    def small_memory(values: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        if len(values) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return work(values, factors)

    on_device = owned(small_memory, largest=5)
    sums, _ = on_device(*rows(11))
    values, factors = rows(11)
    np.testing.assert_array_equal(sums, (values.sum(1) * factors).numpy())
    assert on_device.largest == 2
    assert set(work.shapes) == {(2, 3)}


def test_another_error_is_the_callers(gpu: Gpu) -> None:
    def broken(values: Tensor) -> tuple[Tensor]:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        owned(broken)(rows(3)[0])


def test_a_function_that_cannot_be_captured_goes_on_without(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextmanager
    def refused(made: Any, stream: object, capture_error_mode: str) -> Iterator[None]:
        raise RuntimeError("operation not permitted when stream is capturing")
        yield

    monkeypatch.setattr(torch.cuda, "graph", refused)
    on_device = owned(Counted())
    for seed in range(3):
        values, factors = rows(4, seed)
        np.testing.assert_array_equal(on_device(values, factors)[0], (values.sum(1) * factors).numpy())
    assert caplog.text.count("no CUDA graph") == 1
    assert gpu.streams == ["before"]  # PyTorch stays on the stream of the capture


def test_a_pickled_copy_begins_anew(gpu: Gpu) -> None:
    on_device = OnDevice(torch.nn.Softmax(1).forward, CPU, 7)
    copy = pickle.loads(pickle.dumps(on_device))
    assert (copy.device, copy.largest, copy._thread) == (CPU, 7, None)


def test_float32_is_exact_inside_and_the_flags_come_back(gpu: Gpu) -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    for on_device in (OnDevice(work := Counted(), CPU), owned(work)):
        on_device(*rows(2))
        assert work.exact == {False}
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before == (True, False)


def test_the_last_thread_that_leaves_sets_the_flags_back() -> None:
    """Threads that enter and leave in another order: TF32 is off until none is inside."""
    one, two = exact_float32(), exact_float32()
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert not torch.backends.cudnn.allow_tf32
    two.__exit__(None, None, None)
    assert torch.backends.cudnn.allow_tf32
    with pytest.raises(ValueError, match="inside"), exact_float32():
        raise ValueError("inside")
    assert torch.backends.cudnn.allow_tf32

"""A session that claims to be on a GPU: what it is asked for is counted, and computed on the CPU."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from sdk.errors import ModelError
from sdk.runtimes.cuda import fixed_batches
from sdk.runtimes.cuda.fixed_batches import GRAPH_ID, SIZES, STAGES, FixedBatches
from tests.support.tiny_models import faces


class Counting:
    """A session that counts shapes, graphs, uploads and threads.

    Args:
        path: The model.
        refuses: Batch size whose graph it refuses to capture.
    """

    def __init__(self, path: Path, refuses: int = 0) -> None:
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.refuses = refuses
        self.runs: Counter[tuple[int, str]] = Counter()
        self.uploads: Counter[int] = Counter()
        self.threads: set[int] = set()

    def io_binding(self) -> Any:
        """Return a binding whose input and output are remembered."""
        return Binding(self.session.io_binding())

    def run_with_iobinding(self, binding: "Binding", options: Any) -> None:
        """Run, and count by batch size and number of the graph."""
        size, graph = binding.faces.shape()[0], options.get_run_config_entry(GRAPH_ID)
        if graph == str(self.refuses):
            raise RuntimeError("operation not permitted when stream is capturing")
        self.runs[size, graph] += 1
        self.threads.add(threading.get_ident())
        self.session.run_with_iobinding(binding.real)


class Binding:
    """An I/O binding that remembers where its input and output are."""

    def __init__(self, real: Any) -> None:
        self.real, self.faces, self.output = real, None, None

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        """Remember the input."""
        self.faces = value
        self.real.bind_ortvalue_input(name, value)

    def bind_ortvalue_output(self, name: str, value: Any) -> None:
        """Remember the output."""
        self.output = value
        self.real.bind_ortvalue_output(name, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.fixture
def counting(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    session = Counting(tiny_path)
    real = onnxruntime.OrtValue.update_inplace

    def update(value: Any, array: np.ndarray) -> None:
        session.uploads[len(array)] += 1
        real(value, array)

    monkeypatch.setattr(onnxruntime.OrtValue, "update_inplace", update)
    return session


def batches_of(session: Counting, sizes: tuple[int, ...] = SIZES, graphs: bool = True) -> FixedBatches:
    return FixedBatches(session, None, "image", "quality", sizes, "cpu", 0, graphs)


def test_few_shapes_in_many_calls_of_random_sizes(counting: Counting) -> None:
    batches, calls = batches_of(counting, (1, 4, 16)), Counter[int]()
    for count in np.random.default_rng(0).integers(1, 17, 60).tolist():
        assert batches.run(faces(count)).shape == (count, 1)
        calls[next(size for size in (1, 4, 16) if size >= count)] += 1
    # One run without a graph, one that captures it, and from then on only launches: one a call, with one upload.
    expected = {(size, graph): n for size in calls for graph, n in (("-1", 1), (str(size), 1 + calls[size]))}
    assert dict(counting.runs) == expected
    assert batches.captures == 3
    assert counting.uploads == {size: 1 + calls[size] for size in calls}
    assert len(counting.threads) == 1
    batches.close()


def test_padding_never_changes_a_score(counting: Counting) -> None:
    """Also with other faces left in the rest of the array, and with faces all 255."""
    batches = batches_of(counting, (1, 8))
    batches.run(np.full((8, 112, 112, 3), 255, np.uint8))
    for count in (8, 1, 5, 3, 8, 2):
        batch = faces(count, count)
        alone = np.concatenate([counting.session.run(["quality"], {"image": face[None]})[0] for face in batch])
        np.testing.assert_allclose(batches.run(batch), alone, rtol=0, atol=1e-6)
    batches.close()


def test_addresses_stay(counting: Counting) -> None:
    """A CUDA graph reads and writes where it did when it was captured."""
    batches = batches_of(counting, (4,))
    batches.run(faces(3))
    binding = batches._bound[4].binding
    where = binding.faces.data_ptr(), binding.output.data_ptr()
    for count in (4, 1, 2):
        batches.run(faces(count))
    assert (binding.faces.data_ptr(), binding.output.data_ptr()) == where
    assert binding.get_outputs()[0].data_ptr() == where[1]
    batches.close()


def test_a_graph_that_cannot_be_captured(counting: Counting, caplog: pytest.LogCaptureFixture) -> None:
    counting.refuses = 4
    batches = batches_of(counting, (1, 4))
    expected = counting.session.run(["quality"], {"image": faces(3)})[0]
    for _ in range(2):
        np.testing.assert_allclose(batches.run(faces(3)), expected, rtol=0, atol=1e-6)
    assert "batches of 4 run without a CUDA graph, which is slower: operation not permitted" in caplog.text
    assert (batches.captures, counting.runs[4, "-1"]) == (0, 3)
    batches.close()


def test_without_graphs(counting: Counting) -> None:
    batches = batches_of(counting, (8,), graphs=False)
    batches.run(faces(5))
    assert counting.runs == {(8, "-1"): 2}
    batches.close()


def test_threads_share_a_session(counting: Counting) -> None:
    batches = batches_of(counting, (1, 4, 16))
    work = [faces(1 + seed % 16, seed) for seed in range(40)]
    expected = [counting.session.run(["quality"], {"image": batch})[0] for batch in work]
    with ThreadPoolExecutor(8) as pool:
        for found, wanted in zip(pool.map(batches.run, work), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert len(counting.threads) == 1
    assert batches.captures == 3
    batches.close()


def test_pinned_memory_is_freed(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[object] = []

    class Pinned:
        def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
            self.values = np.zeros(shape, dtype)
            held.append(self)

        def free(self) -> None:
            held.remove(self)

    monkeypatch.setattr(fixed_batches, "PinnedArray", Pinned)
    batches = batches_of(counting, (1, 4))
    batches.run(faces(1))
    assert held == []  # on the CPU nothing is pinned
    batches._device = "cuda"
    stages = [batches._stage(batches._bound[1], (4, 112, 112, 3), np.uint8) for _ in range(STAGES)]
    assert [stage.shape for stage in stages] == [(4, 112, 112, 3)] * STAGES
    assert len(held) == STAGES
    batches.close()
    assert held == []
    with pytest.raises(ModelError, match="the session is closed"):
        batches.run(faces(1))


def test_memory_that_cannot_be_pinned(
    counting: Counting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: object) -> None:
        raise OSError("cuMemHostAlloc failed: CUDA error 801")

    monkeypatch.setattr(fixed_batches, "PinnedArray", refuse)
    batches = batches_of(counting, (4,))
    batches.run(faces(1))
    batches._device = "cuda"
    assert batches._stage(batches._bound[4], (4, 112, 112, 3), np.uint8).shape == (4, 112, 112, 3)
    assert "not pinned, which is slower: cuMemHostAlloc failed: CUDA error 801" in caplog.text
    batches.close()


def test_each_size_has_a_session_of_its_own(counting: Counting, tiny_path: Path) -> None:
    """A session that changes its size unloads the kernels that graphs of other sizes hold."""
    opened: list[Counting] = []

    def another() -> Counting:
        opened.append(Counting(tiny_path))
        return opened[-1]

    batches = FixedBatches(counting, another, "image", "quality", (1, 4, 8), "cpu", 0, True)
    for count in (3, 1, 8, 2, 1):
        batches.run(faces(count))
    assert len(opened) == 2
    for session in (counting, *opened):
        assert len({size for size, _ in session.runs}) == 1
    batches.close()


def test_planned_sizes_start_together_and_graphs_follow_in_turn(counting: Counting, tiny_path: Path) -> None:
    """First runs in a thread each, all under way at once; captures by the one thread that launches later."""
    sizes = (1, 4, 8)
    together = threading.Barrier(len(sizes), timeout=60)
    opened = [counting]

    class Meeting(Counting):
        def run_with_iobinding(self, binding: Binding, options: Any) -> None:
            if options.get_run_config_entry(GRAPH_ID) == "-1":
                together.wait()
            super().run_with_iobinding(binding, options)

    def another() -> Counting:
        opened.append(Meeting(tiny_path))
        return opened[-1]

    opened[0].__class__ = Meeting
    batches = FixedBatches(counting, another, "image", "quality", sizes, "cpu", 0, True)
    batches.plan(faces(1))
    assert batches.captures == len(opened) == len(sizes)
    before = {thread for session in opened for thread in session.threads}
    for count in (3, 1, 8, 2):
        batches.run(faces(count))
    assert {thread for session in opened for thread in session.threads} == before  # no first run is left
    assert sorted(tuple(session.runs) for session in opened) == [((size, "-1"), (size, str(size))) for size in sizes]
    batches.plan(faces(1))
    assert len(opened) == len(sizes)
    batches.close()


def test_planned_sizes_of_one_session_follow_in_turn(counting: Counting) -> None:
    batches = batches_of(counting, (1, 4))
    batches.plan(faces(1))
    assert counting.runs == {(1, "-1"): 1, (1, "1"): 1, (4, "-1"): 1, (4, "4"): 1}
    assert len(counting.threads) == 1
    batches.close()

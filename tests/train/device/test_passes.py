"""Training passes as a CUDA graph, with a stand-in for the graph: what is done once, what is compared, what stays."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from tests.support.graphs import Graphs
from train.device import passes
from train.device.passes import Batch, GraphedPasses, Losses


class Training:
    """A network with a batch norm, trained on random batches by hand; one of its parameters takes no part."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, graphed: bool) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.network.register_parameter("idle", nn.Parameter(torch.zeros(2)))
        self.optimiser = torch.optim.SGD(self.network.parameters(), 0.1)
        self.graphs = Graphs(self.network, monkeypatch)
        self.passes = GraphedPasses(self._run, self.network) if graphed else self._run
        self.factor = 1.0

    def _run(self, batches: Sequence[Batch]) -> Losses:
        total = torch.zeros(())
        for batch in batches:
            loss = self.factor * (self.network(batch["x"]) - batch["y"]).square().mean() / len(batches)
            loss.backward()
            total += loss.detach()
        return {"total": total}

    def step(self, rows: Sequence[int]) -> Tensor:
        """One step on batches of so many rows."""
        self.optimiser.zero_grad()
        losses = self.passes([{"x": torch.randn(count, 3), "y": torch.randn(count, 1)} for count in rows])
        self.optimiser.step()
        return losses["total"]

    def train(self, steps: Sequence[Sequence[int]]) -> list[Tensor]:
        """Do steps; the losses are read at the end."""
        torch.manual_seed(1)
        return [self.step(rows) for rows in steps]


STEPS = [(4, 4), (4, 4), (4, 4), (4, 4), (3, 4), (4, 4), (2,), (4, 4)]


def assert_same(one: Training, other: Training) -> None:
    for key, value in one.network.state_dict().items():
        torch.testing.assert_close(value, other.network.state_dict()[key], rtol=0, atol=0)


def test_the_passes_run_twice_and_are_replayed_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of other shapes run as they are. Weights, statistics and losses are those of a plain training."""
    plain, graphed = Training(monkeypatch, False), Training(monkeypatch, True)
    wanted, found = plain.train(STEPS), graphed.train(STEPS)
    assert [float(loss) for loss in found] == [float(loss) for loss in wanted]
    assert_same(plain, graphed)
    # After the first two steps a graph was made, and proven by a replay; two steps had other shapes.
    assert (graphed.graphs.made, graphed.graphs.replays) == (1, 1 + 4)


def test_no_graph_is_made_of_shapes_that_do_not_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    graphed = Training(monkeypatch, True)
    graphed.train([(3,), (4,), (3,), (4, 4)])
    assert graphed.graphs.made == 0


@pytest.mark.parametrize("wrong", [1.0, torch.nan])
def test_a_graph_that_differs_is_not_used(
    wrong: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain, graphed = Training(monkeypatch, False), Training(monkeypatch, True)
    graphed.graphs.wrong = wrong
    plain.train(STEPS)
    graphed.train(STEPS)
    assert_same(plain, graphed)
    assert (graphed.graphs.made, graphed.graphs.replays) == (1, 1)
    assert caplog.text.count("gives other losses") == 1


def test_a_capture_that_fails_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    plain, graphed = Training(monkeypatch, False), Training(monkeypatch, True)
    graphed.graphs.fails = True
    plain.train(STEPS)
    graphed.train(STEPS)
    assert_same(plain, graphed)
    assert caplog.text.count("no CUDA graph can be made of this training") == 1


def test_gradients_that_overflow_postpone_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    graphed = Training(monkeypatch, True)
    graphed.factor = float("inf")
    for _ in range(3):
        graphed.optimiser.zero_grad()
        graphed.passes([{"x": torch.randn(4, 3), "y": torch.randn(4, 1)}])
    assert graphed.graphs.made == 0
    graphed.factor = 1.0
    graphed.train([(4,), (4,)])
    assert graphed.graphs.made == 1


class Half:
    """A graph that leaves out what it should write: the stand-in of one that was captured on another GPU."""

    def replay(self) -> None: ...


def test_a_graph_that_writes_nothing_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain, graphed = Training(monkeypatch, False), Training(monkeypatch, True)
    monkeypatch.setattr(passes, "captured", lambda work, device: (Half(), work()))
    plain.train(STEPS[:1] * 2)
    graphed.train(STEPS[:1] * 2)
    assert "gives other losses (by nan)" in caplog.text
    for one, other in zip(plain.network.parameters(), graphed.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_gpu_without_room_for_both_has_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 1 << 30
    numbers = {"memory_allocated": 1 * gib, "max_memory_allocated": 4 * gib, "memory_reserved": 5 * gib}
    for name, value in numbers.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    device = torch.device("cuda")
    for free, wanted in ((2 * gib, True), (1 * gib, False)):  # 3 GiB a time are needed, 4 GiB are cached and not used
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 8 * gib))
        assert passes._memory_for_both(device) is wanted

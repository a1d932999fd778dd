"""Passes forward and back as one CUDA graph: a GPU that waits for no Python.

A step of a small network is thousands of short kernels, and Python launches them more slowly than a GPU runs them.
"""

import gc
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Batch = dict[str, Tensor]
Losses = dict[str, Tensor]
Run = Callable[[Sequence[Batch]], Losses]

SAME_LOSS, SAME_GRADIENT = 1e-3, 2e-2
"""Largest differences of a graph from the passes it replaces, as shares of the largest loss and the gradient's norm.

The kernels are the same. Some add up in an order that changes, which half precision shows."""


def captured(work: Callable[[], Any], device: torch.device) -> tuple[Any, Any]:
    """Capture a function's work on a GPU as a CUDA graph; return the graph, and what the function returns.

    Nothing is computed until the graph is replayed. Other threads may allocate meanwhile: only what this one does can
    spoil the graph. After an error the thread goes on as before; but PyTorch's random numbers on the GPU may then be
    errors in this process.

    Raises:
        RuntimeError: The function waits for the GPU, or memory does not suffice.
    """
    gc.collect()  # what autograd left in cycles belongs to another stream
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
    try:
        # PyTorch would take one stream for all GPUs, that of the GPU of the first graph.
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            outputs = work()
    except RuntimeError:
        torch.cuda.synchronize(device)
        torch.cuda.set_stream(before)
        raise
    return graph, outputs


class GraphedPasses:
    """Does passes forward and back, and leaves the gradients in a network's parameters, which have none before.

    The first passes run as they are. When the batches have the shapes of those before, a CUDA graph is made, and
    replayed from then on; batches of other shapes run as they are. Before a graph is used its losses and gradients are
    compared with those of the passes themselves. Where no graph can be made, where it differs, or where memory does not
    suffice for both, a message says so, and all passes run as they are.

    Args:
        run: (batches) -> losses, scalars without gradients. It adds the gradients to the parameters.
        network: Has the parameters, and buffers that a pass may change.
    """

    def __init__(self, run: Run, network: nn.Module) -> None:
        self._run, self._network = run, network
        self._shapes: Any = None
        self._possible = True
        self._graph: _Graph | None = None

    def __call__(self, batches: Sequence[Batch]) -> Losses:
        """Return the losses of some batches, tensors of their own."""
        shapes = [{name: (value.shape, value.dtype) for name, value in batch.items()} for batch in batches]
        same, self._shapes = shapes == self._shapes, shapes
        if self._graph is not None and shapes == self._graph.shapes:
            return self._graph.replay(batches)
        if not (same and self._possible and self._graph is None):
            return self._run(batches)
        device = next(self._network.parameters()).device
        torch.cuda.reset_peak_memory_stats(device)
        losses = self._run(batches)
        self._make(batches, losses, shapes, device)
        return losses

    def _make(self, batches: Sequence[Batch], losses: Losses, shapes: Any, device: torch.device) -> None:
        parameters = [parameter for parameter in self._network.parameters() if parameter.grad is not None]
        wanted = _gradients(parameters)
        norm = _norm(wanted)
        if not math.isfinite(norm):  # fp16 overflows in the first steps
            return
        self._possible = False
        if not _memory_for_both(device):
            logger.info("no CUDA graph of the training: memory does not suffice for it beside other work")
            return
        try:
            graph = _Graph(self._run, batches, shapes, parameters)
            found, gradients = graph.proof(self._network, batches)
        except RuntimeError as error:
            logger.warning("no CUDA graph can be made of this training, so it runs more slowly: %s", error)
        else:
            apart = _norm([one - other for one, other in zip(gradients, wanted, strict=True)]) / max(norm, 1e-30)
            scale = max(abs(float(value)) for value in losses.values())
            moved = [abs(float(found[name] - value)) / max(scale, 1e-30) for name, value in losses.items()]
            if apart <= SAME_GRADIENT and all(share <= SAME_LOSS for share in moved):
                self._graph = graph
            else:
                logger.warning(
                    "a CUDA graph of this training gives other losses (by %.2g) or gradients (by %.2g), so it is not "
                    "used, and training is slower", max(moved), apart,
                )  # fmt: skip
        for parameter, gradient in zip(parameters, wanted, strict=True):
            parameter.grad = gradient


class _Graph:
    """A graph of the passes, with the batches that it reads and the gradients that it writes."""

    def __init__(self, run: Run, batches: Sequence[Batch], shapes: Any, parameters: list[nn.Parameter]) -> None:
        self.shapes, self._parameters = shapes, parameters
        self._batches = [{name: torch.zeros_like(value) for name, value in batch.items()} for batch in batches]
        for parameter in parameters:
            parameter.grad = None
        self._graph, self._losses = captured(lambda: run(self._batches), parameters[0].device)
        self._gradients = _gradients(parameters)

    def replay(self, batches: Sequence[Batch]) -> Losses:
        """Do the passes for batches of the same shapes."""
        for kept, given in zip(self._batches, batches, strict=True):
            for name, value in given.items():
                kept[name].copy_(value, non_blocking=True)
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return {name: value.clone() for name, value in self._losses.items()}

    def proof(self, network: nn.Module, batches: Sequence[Batch]) -> tuple[Losses, list[Tensor]]:
        """Return losses and gradients for some batches; the network's buffers stay."""
        before = [buffer.clone() for buffer in network.buffers()]
        for tensor in (*self._losses.values(), *self._gradients):
            tensor.fill_(math.nan)  # what the graph leaves out cannot pass
        losses = self.replay(batches)
        for buffer, value in zip(network.buffers(), before, strict=True):
            buffer.copy_(value)
        return losses, self._gradients


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _norm(gradients: Iterable[Tensor]) -> float:
    norms = [torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in gradients]
    return float(torch.linalg.vector_norm(torch.stack(norms)))


def _memory_for_both(device: torch.device) -> bool:
    """Tell whether a GPU has room twice for what was done since the statistics of its memory were reset.

    A graph keeps what it needs, and batches of other shapes and validation come beside it.
    """
    used, most = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - used
    return 2 * (most - used) <= free

"""A function of batches on a device, without what a GPU would wait for.

- One thread owns the networks: PyTorch keeps cuDNN's plans a thread, and making them takes seconds.
- Batches have one shape, for plans are also kept a shape. A smaller batch is filled up, and what fills it is dropped.
- The first batch runs as it is. From the second on, the device replays a CUDA graph of it, without Python.
- Inputs come from pinned memory, and the next batch is queued while the device computes.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from numpy.typing import NDArray
from torch import Tensor

from train.device.passes import captured
from train.device.precision import exact_float32

logger = logging.getLogger(__name__)

Work = Callable[..., tuple[Tensor, ...]]
"""Tensors (N, ...) on the device -> tensors (N, ...) there. A row depends on the same row of the inputs alone."""


class OnDevice:
    """Calls a function of batches on a device, for many threads. Float32 is exact, see `exact_float32`.

    On a GPU one thread of its own calls the function, on batches of one shape. Elsewhere the caller's thread does, on
    batches as they are. A pickled copy begins anew.

    Args:
        work: The function.
        device: Where the tensors are.
        largest: Rows on a GPU at once; halved whenever memory does not suffice. None for no limit.
    """

    def __init__(self, work: Work, device: torch.device, largest: int | None = None) -> None:
        self._work, self.device, self.largest = work, device, largest
        self._begin()

    def _begin(self) -> None:
        self._owned = self.device.type == "cuda"
        self._making = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._stream: Any = None
        self._shaped: _Shaped | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_work": self._work, "device": self.device, "largest": self.largest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return an array for inputs, in memory from which a GPU copies fast."""
        return torch.empty(shape, dtype=dtype, pin_memory=self.device.type == "cuda")

    def pinned(self, values: Tensor) -> Tensor:
        """Return a tensor of the CPU in such memory."""
        return values.pin_memory() if self.device.type == "cuda" else values

    def __call__(self, *inputs: Tensor) -> list[NDArray[Any]]:
        """Return the outputs of a batch of inputs (N, ...) on the CPU."""
        if not self._owned:
            with exact_float32():
                return [output.cpu().numpy() for output in self._work(*(tensor.to(self.device) for tensor in inputs))]
        parts, done = self._owner().submit(self._queue, inputs).result()
        done.synchronize()  # here and not on the owner's thread, which queues the next batch meanwhile
        return [np.concatenate([part.numpy() for part in output]) for output in zip(*parts, strict=True)]

    def _owner(self) -> ThreadPoolExecutor:
        with self._making:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, f"fiqa-{self.device}")
            return self._thread

    def _queue(self, inputs: tuple[Tensor, ...]) -> tuple[list[list[Tensor]], Any]:
        """Queue a batch on the device; return its outputs, in parts, and the event after which they are there."""
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream), exact_float32():
            parts = list(self._parts(inputs))
            # It waits without taking a core.
            done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            done.record()
        return parts, done

    def _parts(self, inputs: tuple[Tensor, ...]) -> Iterator[list[Tensor]]:
        start, count = 0, len(inputs[0])
        while start < count:
            size = min(count - start, self.largest or count)
            try:
                outputs = self._one([tensor[start : start + size] for tensor in inputs], size)
            except RuntimeError as error:
                if size == 1 or not should_reduce_batch_size(error):
                    raise
                self._shaped, self.largest = None, size // 2
                torch.cuda.empty_cache()
                logger.info("memory does not suffice: %d at once from here on", self.largest)
                continue
            yield [output[:size].to("cpu", non_blocking=True, copy=True) for output in outputs]
            start += size

    def _one(self, inputs: list[Tensor], size: int) -> tuple[Tensor, ...]:
        if self._shaped is None or self._shaped.size < size:
            self._shaped = None  # frees its memory
            self._shaped = _Shaped(self._work, inputs, self.device)
        return self._shaped(inputs)


class _Shaped:
    """The function for batches of up to one size: called the first time, replayed as a CUDA graph from then on."""

    def __init__(self, work: Work, inputs: list[Tensor], device: torch.device) -> None:
        self._work, self.size = work, len(inputs[0])
        self._inputs = [torch.zeros_like(tensor, device=device) for tensor in inputs]
        self._calls = 0
        self._graph: Any = None
        self._outputs: tuple[Tensor, ...] = ()

    def __call__(self, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept[: len(given)].copy_(given, non_blocking=True)
        self._calls += 1
        if self._calls == 2:
            self._capture()
        if self._graph is None:
            return self._work(*self._inputs)
        self._graph.replay()
        return self._outputs

    def _capture(self) -> None:
        try:
            self._graph, self._outputs = captured(lambda: self._work(*self._inputs), self._inputs[0].device)
        except RuntimeError as error:
            if should_reduce_batch_size(error):
                raise
            logger.warning("no CUDA graph can be made of this network, so it runs more slowly: %s", error)

"""What a runtime is: one engine that holds one model."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sdk.errors import DeviceError, FiqaError, ModelError
from sdk.models.loading import Model

FLOATS = ("float16", "float32", "float64")
"""Types that scores may have in a file."""

MOST_FACES = 1024
"""Largest fixed batch of a file; every call takes memory for it."""

_OUT_OF_MEMORY = ("out of memory", "outofmemory", "could not be allocated", "failed to allocate memory", "bad alloc")


class End(NamedTuple):
    """An input or an output of a loaded model.

    Attributes:
        name: Its name.
        dtype: numpy's name of its type, or the library's where numpy has none.
        shape: Its sizes, None where one is free; None where even their number is.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        sizes = "of any shape"
        if self.shape is not None:
            sizes = f"({', '.join('N' if size is None else str(size) for size in self.shape)})"
        return f"{self.name} {self.dtype} {sizes}"


class Runtime(Protocol):
    """An engine with a model in it. `run` may be called from several threads at once.

    Attributes:
        device: Where it really runs: `cpu`, `cuda:0`, `tensorrt:0`, `openvino`.
        batch: Most faces that one call takes.
        precision: What it computes in: the card's, or the one that was asked for.
    """

    device: str
    batch: int
    precision: str

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Score faces.

        Args:
            batch: (N, ...) in the layout, type and colour order of the model's card; 1 <= N <= `self.batch`.

        Returns:
            float32 (N,).
        """
        ...

    def close(self) -> None:
        """Let go of the model."""
        ...


def check_input(model: Model, inputs: Sequence[End]) -> End:
    """Compare what a loaded model takes with its card; returns the input.

    Raises:
        ModelError: There is not one input, or it is of another type or shape.
    """
    spec = model.card.input
    sizes = tuple(size or None for size in spec.shape)
    wanted = End("", spec.dtype, (None, *sizes))
    fits = len(inputs) == 1 and inputs[0].dtype == spec.dtype and inputs[0].shape is not None
    if not fits or not _fits(inputs[0].shape, wanted.shape):
        raise ModelError(
            f"{model.path} takes {_listed(inputs)}, its card says one input{wanted}; correct the card, or export the "
            "model with fiqa-export"
        )
    batch = inputs[0].shape[0] if inputs[0].shape else None
    if batch is not None and not 1 <= batch <= MOST_FACES:
        raise ModelError(f"{model.path} takes {batch} faces a call, wanted 1 to {MOST_FACES}; export it for any batch")
    return inputs[0]


def check_output(model: Model, outputs: Sequence[End], dtypes: Sequence[str] = FLOATS) -> End:
    """Compare what a loaded quality model gives with its card; returns the output that is the score.

    Raises:
        ModelError: It is not there, or is not one number a face.
    """
    named = [end for end in outputs if end.name == model.card.output]
    named = named or [end for end in outputs if not model.card.output and len(outputs) == 1]
    if not named:
        names = ", ".join(end.name for end in outputs)
        raise ModelError(f"{model.path} has the outputs {names}, its card says {model.card.output!r}; correct the card")
    shape = named[0].shape
    fits = shape is None or (len(shape) > 0 and _fits(shape[1:], (1,) * len(shape[1:])))
    if named[0].dtype not in dtypes or not fits:
        raise ModelError(f"{model.path} gives {named[0]}, wanted {' or '.join(dtypes)} (N, 1), a number a face")
    return named[0]


def check_scores(found: Any, count: int, model: str) -> NDArray[np.float32]:
    """Turn what a run gave into scores.

    Args:
        found: The output.
        count: Faces that were given.
        model: Named in the error.

    Returns:
        float32 (count,).

    Raises:
        ModelError: It is not one number a face.
    """
    scores = np.asarray(found)
    if scores.dtype.kind != "f" or scores.size != count or scores.shape[:1] != (count,):
        raise ModelError(
            f"the output of {model} is {scores.dtype} of shape {scores.shape} for {count} faces, wanted floats (N, 1)"
        )
    with np.errstate(over="ignore"):  # beyond float32 is infinity
        return scores.reshape(-1).astype(np.float32, copy=False)


def is_out_of_memory(error: Exception | str) -> bool:
    """Tell whether an error of a library, or its words, say that memory is full."""
    words = str(error).lower().replace("_", " ")
    return isinstance(error, MemoryError) or any(sign in words for sign in _OUT_OF_MEMORY)


def memory_error(error: Exception | str, device: str, what: str) -> FiqaError:
    """The error for `is_out_of_memory`."""
    words = str(error) or type(error).__name__
    return DeviceError(
        f"{device} has not enough memory for {what}: {words}; end other programs on it, or use another device"
    )


def _fits(shape: tuple[int | None, ...] | None, wanted: tuple[int | None, ...] | None) -> bool:
    """Whether sizes are those that are wanted, where neither is free."""
    if shape is None or wanted is None or len(shape) != len(wanted):
        return False
    return all(found is None or size is None or found == size for found, size in zip(shape, wanted, strict=True))


def _listed(ends: Sequence[End]) -> str:
    return ", ".join(map(str, ends)) or "nothing"


def pad_batch(batch: NDArray[Any], size: int) -> NDArray[Any]:
    """A batch of exactly `size`, filled up with zeros; itself where it is that long already."""
    if len(batch) == size:
        return batch
    padded = np.zeros((size, *batch.shape[1:]), batch.dtype)
    padded[: len(batch)] = batch
    return padded

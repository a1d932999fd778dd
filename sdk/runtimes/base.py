"""Runtime, the interface of everything that runs a model; and the checks that all runtimes share."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sdk.errors import DeviceError, FiqaError, ModelError
from sdk.models.loading import Model

FLOATS = ("float16", "float32", "float64")
"""Types that a model's scores may have."""

MOST_FACES = 1024
"""Largest fixed batch of a model file. Every call takes memory for the whole batch."""

_OUT_OF_MEMORY = ("out of memory", "outofmemory", "could not be allocated", "failed to allocate memory", "bad alloc")


class TensorInfo(NamedTuple):
    """An input or an output of a loaded model.

    Attributes:
        name: Its name.
        dtype: numpy's name of its type; the library's name if numpy has no such type.
        shape: Its sizes, None for a free size. None as a whole if the number of sizes is free.
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
    """A library with a loaded model. Several threads may call `run` at once.

    Attributes:
        device: The device that it really runs on: `cpu`, `cuda:0`, `tensorrt:0`, `openvino`.
        batch: Most faces of one call.
        sizes: Sizes that batches are filled up to, ascending; none where every batch runs as it is.
        precision: The precision that it computes in: the card's, or the requested one.
    """

    device: str
    batch: int
    sizes: tuple[int, ...]
    precision: str

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Score faces.

        Args:
            batch: (N, ...) in the layout, type and colour order of the model's card; 1 <= N <= `self.batch`.

        Returns:
            float32 (N,).

        Raises:
            ModelError: The library cannot run the model.
            DeviceError: The device fails, or has not enough memory.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@runtime_checkable
class PlansAhead(Protocol):
    """A `Runtime` that makes all its sizes ready at once, faster than by a run of each."""

    def plan(self, face: NDArray[Any]) -> None:
        """Make all sizes ready.

        Args:
            face: (1, ...) as `Runtime.run` takes it; its values do not matter.

        Raises:
            ModelError: The library cannot run the model.
            DeviceError: The device fails, or has not enough memory.
        """
        ...


def check_input(model: Model, inputs: Sequence[TensorInfo]) -> TensorInfo:
    """Compare the inputs of a loaded model with its card; return the only input.

    Raises:
        ModelError: There is not exactly one input, or its type or shape differs from the card.
    """
    spec = model.card.input
    sizes = tuple(size or None for size in spec.shape)
    wanted = TensorInfo("", spec.dtype, (None, *sizes))
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


def check_output(model: Model, outputs: Sequence[TensorInfo], dtypes: Sequence[str] = FLOATS) -> TensorInfo:
    """Compare the outputs of a loaded quality model with its card; return the output that is the score.

    Args:
        model: The model.
        outputs: All its outputs.
        dtypes: Types that the score may have.

    Raises:
        ModelError: The card's output is missing, or is not one number a face.
    """
    named = [output for output in outputs if output.name == model.card.output]
    named = named or [output for output in outputs if not model.card.output and len(outputs) == 1]
    if not named:
        names = ", ".join(output.name for output in outputs)
        raise ModelError(f"{model.path} has the outputs {names}, its card says {model.card.output!r}; correct the card")
    shape = named[0].shape
    fits = shape is None or (len(shape) > 0 and _fits(shape[1:], (1,) * len(shape[1:])))
    if named[0].dtype not in dtypes or not fits:
        raise ModelError(f"{model.path} gives {named[0]}, wanted {' or '.join(dtypes)} (N, 1), a number a face")
    return named[0]


def check_scores(found: Any, count: int, model: str) -> NDArray[np.float32]:
    """Convert the output of a run to scores.

    Args:
        found: The output.
        count: Number of faces of the run.
        model: The model's name for the error.

    Returns:
        float32 (count,).

    Raises:
        ModelError: The output is not one number a face.
    """
    scores = np.asarray(found)
    if scores.dtype.kind != "f" or scores.size != count or scores.shape[:1] != (count,):
        raise ModelError(
            f"the output of {model} is {scores.dtype} of shape {scores.shape} for {number_of_faces(count)}, "
            "wanted floats (N, 1)"
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32's range becomes infinity, which the scorer refuses
        return scores.reshape(-1).astype(np.float32, copy=False)


def is_out_of_memory(error: Exception | str) -> bool:
    """Tell whether a library's error, or its text, says that memory is full."""
    words = str(error).lower().replace("_", " ")
    return isinstance(error, MemoryError) or any(sign in words for sign in _OUT_OF_MEMORY)


def number_of_faces(count: int) -> str:
    """Return `1 face` or, for example, `8 faces`."""
    return f"{count} face{'s' * (count != 1)}"


def memory_error(error: Exception | str, device: str, what: str) -> FiqaError:
    """Return the error to raise when `is_out_of_memory` is true; `what` needs the memory."""
    words = str(error) or type(error).__name__
    return DeviceError(
        f"{device} has not enough memory for {what}: {words}; end other programs on it, or use another device"
    )


def _fits(shape: tuple[int | None, ...] | None, wanted: tuple[int | None, ...] | None) -> bool:
    """Tell whether two shapes agree; a free size agrees with any."""
    if shape is None or wanted is None or len(shape) != len(wanted):
        return False
    return all(found is None or size is None or found == size for found, size in zip(shape, wanted, strict=True))


def _listed(tensors: Sequence[TensorInfo]) -> str:
    return ", ".join(map(str, tensors)) or "nothing"


def pad_batch(batch: NDArray[Any], size: int) -> NDArray[Any]:
    """Return a batch filled up to `size` faces with zeros; the same array if it has `size` already."""
    if len(batch) == size:
        return batch
    padded = np.zeros((size, *batch.shape[1:]), batch.dtype)
    padded[: len(batch)] = batch
    return padded

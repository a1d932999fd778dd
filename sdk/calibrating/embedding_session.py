"""Face-recognition models in ONNX files: what `Judge` and training share."""

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sdk.alignment import CROP_SIZE
from sdk.errors import ModelError
from sdk.files import read_file
from sdk.models.card import InputSpec, ModelCard
from sdk.models.catalog import catalog
from sdk.models.loading import LARGEST, Model, card_inside, check_named, embeddings_of, names_for
from sdk.models.store import obtain_model
from sdk.onnx_bytes.onnx_file import check_onnx
from sdk.runtimes.base import MOST_FACES, TensorInfo, pad_batch
from sdk.runtimes.onnxruntime import create_session, run_error, tensor_info

USUAL_INPUT = InputSpec(0, 0, "RGB", "NCHW", "float32")
"""What most face-recognition models take; height and width come from the file."""

EMBEDDING = "embedding"
"""The output that is taken of a file with several."""


def read_recognition(model: str | PathLike[str]) -> Model:
    """Read a face-recognition model: a name in the catalogue, or an ONNX file.

    A file's own card says how its input wants pixels; where it has none, that is `USUAL_INPUT`.

    Raises:
        ModelError: The name is unknown or of a model for another task, or the file cannot be fetched or read, or is not
            safe to load (see `check_onnx`).
    """
    if isinstance(model, str) and model in catalog():
        check_named(model, "recognition")
        path, data = obtain_model(model)
        return Model(data, catalog()[model].card, path)
    path = Path(model)
    if path.suffix.lower() != ".onnx":
        names = names_for("recognition")
        raise ModelError(f"{model} is neither an ONNX file nor one of: {names}; {embeddings_of(str(model))}")
    data = read_file(path, ModelError, "give the .onnx file of a face-recognition model", LARGEST)
    try:
        check_onnx(data)
        found = card_inside(data)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return Model(data, found or ModelCard(path.stem, task="recognition", input=USUAL_INPUT), path)


class EmbeddingSession:
    """An open model. Several threads may run it at once; on the CPU each call uses one core.

    Args:
        model: See `read_recognition`.
        device: `auto`, `cpu`, `cuda` or `cuda:1`, see `sdk.runtimes.onnxruntime`.

    Attributes:
        input: How the file takes faces: its layout, size and type; colour, mean and deviation are the card's.
        sides: Height and width that the file fixes, pixels; None for a side that it leaves open.

    Raises:
        ModelError: The file cannot be loaded, or has other inputs or outputs than a face-recognition model.
        DeviceError: The device is not there.
    """

    def __init__(self, model: Model, device: str = "cpu") -> None:
        self._session, _ = create_session(model, device, 1)
        self._path = model.path
        inputs = [tensor_info(value) for value in self._session.get_inputs()]
        outputs = [tensor_info(value) for value in self._session.get_outputs()]
        if len(inputs) != 1 or inputs[0].dtype not in ("float32", "uint8") or not _shows_faces(inputs[0]):
            raise ModelError(
                f"{model.path} takes {listed(inputs)}; wanted one input, faces (N, 3, H, W) or (N, H, W, 3) of float32 "
                "or uint8"
            )
        self.input, self.sides = _fitted(model.card.input, inputs[0])
        self._input, self._output = inputs[0].name, _chosen(outputs, model)
        self._fixed = inputs[0].shape[0] if inputs[0].shape else None
        if self._fixed is not None and not 1 <= self._fixed <= MOST_FACES:
            raise ModelError(f"{model.path} takes {self._fixed} faces a call, wanted 1 to {MOST_FACES} or any number")

    def run(self, faces: NDArray[Any]) -> NDArray[np.float32]:
        """Embed faces (N, ...), as the file takes them: (N, D). A fixed batch size is filled up.

        Raises:
            ModelError: The network fails, or gives something else.
        """
        size = self._fixed or max(len(faces), 1)
        parts = [faces[start : start + size] for start in range(0, len(faces), size)]
        return np.concatenate([self._embed(part, size)[: len(part)] for part in parts])

    def _embed(self, faces: NDArray[Any], size: int) -> NDArray[np.float32]:
        try:
            found: NDArray[np.float32] = self._session.run([self._output], {self._input: pad_batch(faces, size)})[0]
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise run_error(error, "this device", len(faces)) from error
        if found.ndim != 2 or len(found) != size:
            raise ModelError(f"{self._path} gives {found.shape} for {size} faces; wanted embeddings ({size}, D)")
        return found


def listed(tensors: list[TensorInfo]) -> str:
    """Name inputs or outputs in an error."""
    return " and ".join(map(str, tensors)) or "nothing"


def _chosen(outputs: list[TensorInfo], model: Model) -> str:
    """Return the name of the output with embeddings."""
    alone = outputs if len(outputs) == 1 and model.card.task == "recognition" else []
    for output in [output for output in outputs if output.name == EMBEDDING] or alone:
        if output.dtype == "float32" and (output.shape is None or (len(output.shape) == 2 and output.shape[1] != 1)):
            return output.name
    task = "" if model.card.task == "recognition" else f" and is for {model.card.task}"
    raise ModelError(
        f"{model.path} gives {listed(outputs)}{task}; wanted one output, embeddings float32 (N, D), or one of several "
        f"with the name {EMBEDDING!r}: check that it is a face-recognition model"
    )


def _shows_faces(tensor: TensorInfo) -> bool:
    """Tell whether an input has the shape of colour images."""
    shape = tensor.shape or ()
    return len(shape) == 4 and 3 in (shape[1], shape[3])


def _fitted(spec: InputSpec, tensor: TensorInfo) -> tuple[InputSpec, tuple[int | None, int | None]]:
    """Return the input with the file's layout, size and type; and the height and width that the file fixes."""
    assert tensor.shape is not None
    rows, columns = (2, 3) if tensor.shape[1] == 3 else (1, 2)
    sides = tensor.shape[rows], tensor.shape[columns]
    height, width = sides[0] or CROP_SIZE, sides[1] or CROP_SIZE
    layout: Literal["NCHW", "NHWC"] = "NCHW" if rows == 2 else "NHWC"
    dtype: Literal["uint8", "float32"] = "uint8" if tensor.dtype == "uint8" else "float32"
    return replace(spec, layout=layout, dtype=dtype, height=height, width=width), sides

"""A name or a path -> the model's bytes, checked, and its card."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from sdk.errors import ModelError
from sdk.models.card import METADATA_KEY, ModelCard
from sdk.models.catalog import catalog
from sdk.models.onnxfile import check_onnx, read_metadata
from sdk.models.store import fetch_model


@dataclass(frozen=True, slots=True)
class Model:
    """A model that may be loaded.

    Attributes:
        data: The ONNX file.
        card: Its card.
        path: Where it came from.
    """

    data: bytes
    card: ModelCard
    path: Path


def load_model(model: str | PathLike[str], card: ModelCard | None = None) -> Model:
    """Read a model and check it.

    Args:
        model: Path of an ONNX file (a `Path`, or text that ends in `.onnx`), else a name in the catalogue.
        card: Describes the file; without it the card in the file's metadata is taken, else the catalogue's.

    Raises:
        ModelError: The model is unknown, cannot be fetched or read, has no card, or is a file that may not be loaded.
    """
    named = isinstance(model, str) and not model.endswith(".onnx")
    path = fetch_model(str(model)) if named else Path(model)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"the model {path} cannot be read: {error.strerror}; give a name or an .onnx file") from error
    try:
        check_onnx(data)
        written = read_metadata(data).get(METADATA_KEY)
        found = card or (ModelCard.from_json(written) if written else None)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    if found is None and named:
        found = next(entry.card for entry in catalog().values() if entry.file == path.name)
    if found is None:
        raise ModelError(
            f"{path} carries no card ({METADATA_KEY} in its metadata_props); export it with fiqa-export, or give card="
        )
    return Model(data, found, path)

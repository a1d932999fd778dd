"""A name or a path -> the model's bytes, checked, and its card."""

import hashlib
import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from sdk.errors import InputError, ModelError
from sdk.models.card import METADATA_KEY, ModelCard
from sdk.models.catalog import catalog
from sdk.models.onnxfile import check_onnx, read_metadata
from sdk.models.store import fetch_model, find_model

SUFFIXES = (".onnx", ".xml", ".engine")
"""What marks a text as a path: ONNX, OpenVINO IR (weights in the `.bin` beside it), TensorRT."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that may be loaded.

    Attributes:
        data: The file.
        card: Its card.
        path: Where it came from.
        weights: Of OpenVINO IR the `.bin` beside it; of others nothing.
    """

    data: bytes
    card: ModelCard
    path: Path
    weights: bytes = b""


def load_model(model: str | PathLike[str], card: ModelCard | None = None, *, trust: bool = False) -> Model:
    """Read a model and check it.

    Args:
        model: Path of a model file (a `Path`, or text that ends in one of `SUFFIXES`), else a name in the catalogue.
        card: Describes the file; without it the file's own card is taken (in an ONNX file's metadata, as JSON beside
            any other), else the catalogue's.
        trust: Load an engine that was built on another machine. An engine is code: say so only of your own.

    Raises:
        ModelError: The model is unknown, cannot be fetched or read, has no card, does not fit its card, or is a file
            that may not be loaded.
    """
    named = isinstance(model, str) and not is_path(model)
    at_hand = find_model(str(model)) if named else None
    path = at_hand[0] if at_hand else fetch_model(str(model)) if named else Path(model)
    if path.suffix == ".engine":
        from sdk.models.enginefile import check_engine

        data, written_for = _read(path), read_card_beside(path)
        check_engine(path, data, written_for, trust)
        return Model(data, card or written_for, path)
    if path.suffix == ".xml":
        return _load_openvino(path, card)
    data = at_hand[1] if at_hand else _read(path)
    try:
        if at_hand is None:  # what has the catalogue's hash is known, and to look through it takes 5 ms
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


def settle(model: str | PathLike[str]) -> str | Path:
    """Return what `load_model` takes for the same model in any folder and process: a path is made absolute.

    Raises:
        InputError: It is neither text nor a path.
        ModelError: A path cannot be made absolute, because the current folder is gone.
    """
    if not isinstance(model, (str, PathLike)) or not isinstance(os.fspath(model), str):
        raise InputError(f"model is {model!r}, wanted a name in the catalogue or the path of a file")
    if isinstance(model, str) and not is_path(model):
        return model
    try:
        return Path(os.path.abspath(model))
    except OSError as error:
        raise ModelError(f"{model} cannot be found: there is no current folder ({error}); give a full path") from error


def is_path(model: str) -> bool:
    """Whether a text is the path of a model file, not a name in the catalogue."""
    return model.endswith(SUFFIXES)


def card_path(path: Path) -> Path:
    """Where the card of a file that is not ONNX is: the same name with the suffix `.json`."""
    return path.with_suffix(".json")


def read_card_beside(path: Path) -> ModelCard:
    """The card of a file that is not ONNX.

    Raises:
        ModelError: It is not there, or is no card.
    """
    beside = card_path(path)
    try:
        return ModelCard.from_json(beside.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path} has no card: {beside} cannot be read ({error}); copy it there, or export the model again"
        ) from error
    except ModelError as error:
        raise ModelError(f"{beside}: {error}") from error


def openvino_digest(xml: bytes, weights: bytes) -> str:
    """SHA-256 of an OpenVINO model: of the `.xml` followed by the `.bin`."""
    return hashlib.sha256(xml + weights).hexdigest()


def _load_openvino(path: Path, card: ModelCard | None) -> Model:
    data = _read(path)
    if b"<net" not in data[:1000]:
        raise ModelError(f"{path} is not OpenVINO IR: no <net> in it; export it with fiqa-export --format openvino")
    weights = _read(path.with_suffix(".bin"))
    card = card or read_card_beside(path)
    if card.format != "openvino":
        raise ModelError(f"{path} is OpenVINO IR, but its card says {card.format!r}; export it again")
    wanted = card.engine.get("sha256")
    digest = openvino_digest(data, weights)
    if wanted is not None and wanted != digest:
        raise ModelError(
            f"{path} and its .bin have SHA-256 {digest}, their card says {wanted}: "
            "they are damaged or of another export; export the model again"
        )
    return Model(data, card, path, weights)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"the model {path} cannot be read: {error.strerror}; give a name or one of: {', '.join(SUFFIXES)}"
        ) from error

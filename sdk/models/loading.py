"""Load a model: a name or a path -> the checked content of the file, and its card."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from sdk.errors import InputError, ModelError
from sdk.files import read_file, read_text, write_file
from sdk.models.card import METADATA_KEY, MOST_BYTES, ModelCard
from sdk.models.catalog import catalog, find_entry
from sdk.models.formats import FORMATS, SUFFIXES, resolve
from sdk.models.store import obtain_model
from sdk.onnx_bytes.onnx_file import check_onnx, read_metadata

LARGEST = (2 << 30) - 1
"""Largest model file that is read, bytes. No ONNX file can be larger."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model file that is read and checked.

    Attributes:
        data: Content of the file.
        card: Its card.
        path: Path of the file.
        weights: Content of the `.bin` file of OpenVINO IR; empty for other formats.
    """

    data: bytes
    card: ModelCard
    path: Path
    weights: bytes = b""

    @property
    def sha256(self) -> str:
        """SHA-256 of the content of the file, then of `weights`."""
        return hashlib.sha256(self.data + self.weights).hexdigest()


Reader: TypeAlias = Callable[[Path, ModelCard | None, bool], Model]
"""Reads a file and checks it; takes the path, `card` and `trust` of `load_model`."""


def load_model(
    model: str | PathLike[str], card: ModelCard | None = None, *, task: str = "", trust: bool = False
) -> Model:
    """Read a model and check it.

    Args:
        model: Path of a model file (a `Path`, or text that ends in one of `SUFFIXES`), or a name in the catalogue.
        card: Describes the file. None for the file's own card (in an ONNX file's metadata, as JSON beside any other
            file), or else the catalogue's.
        task: What it is wanted for, see `ModelCard.task`; empty for anything. A model of the catalogue that is for
            something else is refused before it is downloaded.
        trust: Load an engine that was built on another machine, or OpenVINO IR without a hash on its card. An engine is
            code: trust only your own.

    Raises:
        ModelError: The model is unknown, for another task, cannot be fetched or read, has no card, differs from its
            card, or is not safe to load.
    """
    if isinstance(model, str) and not is_path(model):
        return _load_named(model, card, task)
    path = Path(os.fsdecode(model))
    readers = {format_.suffix: format_.reader for format_ in FORMATS.values()}
    reader: Reader = resolve(readers.get(path.suffix.lower(), FORMATS["onnx"].reader))
    loaded = reader(path, card, trust)
    check_task(path, loaded.card, task)
    return loaded


def check_task(model: object, card: ModelCard, task: str) -> None:
    """Check that a model is for `task`; empty for anything.

    Raises:
        ModelError: It is for another.
    """
    if task and card.task != task:
        raise ModelError(f"{model} is a model for {card.task}, wanted one for {task}: {names_for(task)}")


def check_named(name: str, task: str) -> None:
    """Check, before a download, that a model of the catalogue is for `task` and that the SDK runs its file.

    Raises:
        ModelError: There is no such model, it is for another task, or only fiqa-train reads its file.
    """
    entry = find_entry(name)
    check_task(name, entry.card, task)
    if not is_path(entry.file):
        way_out = f"; {embeddings_of(name)}" if task == "recognition" else ""
        raise ModelError(
            f"only fiqa-train reads {name}, the file {entry.file}; wanted one of: {names_for(task)}{way_out}"
        )


def embeddings_of(name: str) -> str:
    """Say how a face-recognition model that the SDK does not run is used all the same."""
    return (
        f"`fiqa-train embed CROPS --fr {name} --out e.npy` embeds aligned crops by it: then give `--aligned "
        "--embeddings e.npy` instead of --fr"
    )


def names_for(task: str) -> str:
    """List the models of the catalogue that are for `task` and that the SDK runs."""
    return ", ".join(name for name, entry in catalog().items() if entry.card.task == task and is_path(entry.file))


def settle(model: str | PathLike[str]) -> str | Path:
    """Return a model's name, or its path made absolute: it means the same model in any folder and process.

    Raises:
        InputError: `model` is neither text nor a path.
        ModelError: The path cannot be made absolute, because the current folder was deleted.
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
    """Tell whether a text is the path of a model file, by its suffix; else it is a name in the catalogue."""
    return model.lower().endswith(SUFFIXES)


def card_path(path: Path) -> Path:
    """Return the path of the card of a file that is not ONNX: the same name with the suffix `.json`."""
    return path.with_suffix(".json")


def read_card_beside(path: Path) -> ModelCard:
    """Read the card of a file that is not ONNX.

    Raises:
        ModelError: The card is missing, cannot be read, or is wrong.
    """
    beside = card_path(path)
    try:
        text = read_text(beside, ModelError, "copy it there, or export the model again", MOST_BYTES)
    except ModelError as error:
        raise ModelError(f"{path} has no card: {error}") from error
    try:
        return ModelCard.from_json(text)
    except ModelError as error:
        raise ModelError(f"{beside}: {error}") from error


def write_card_beside(path: Path, card: ModelCard) -> Path:
    """Write the card of a file as JSON beside it; return the card's path.

    Raises:
        InputError: The card cannot be written there.
        OutputError: The disk is full.
    """
    beside = card_path(path)
    write_file(beside, json.dumps(card.to_dict(), indent=2, sort_keys=True, allow_nan=False) + "\n")
    return beside


def openvino_digest(xml: bytes, weights: bytes) -> str:
    """Return the SHA-256 of an OpenVINO model: of the content of the `.xml`, then that of the `.bin`."""
    return hashlib.sha256(xml + weights).hexdigest()


def _load_named(name: str, card: ModelCard | None, task: str) -> Model:
    """Load a model of the catalogue. Its hash is that of the catalogue, so its content needs no check."""
    if task:
        check_named(name, task)
    path, data = obtain_model(name)
    found = card or (card_inside(data) if path.suffix == FORMATS["onnx"].suffix else None)
    if found is None:
        found = next(entry.card for entry in catalog().values() if entry.file == path.name)
    return _fitting(Model(data, found, path), FORMATS["onnx"].suffix)


def read_onnx(path: Path, card: ModelCard | None, trust: bool) -> Model:
    """Read an ONNX file, whose card is inside; see `load_model`."""
    data = _read(path)
    try:
        check_onnx(data)
        found = card or card_inside(data)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    if found is None:
        raise ModelError(
            f"{path} carries no card ({METADATA_KEY} in its metadata_props); export it with fiqa-export, or give card="
        )
    return _fitting(Model(data, found, path), FORMATS["onnx"].suffix)


def read_engine(path: Path, card: ModelCard | None, trust: bool) -> Model:
    """Read an engine, which is code and has to be trusted; see `load_model`."""
    from sdk.models.trust import check_engine

    data, written_for = _read(path), read_card_beside(path)
    _fitting(Model(data, written_for, path), path.suffix)
    check_engine(path, data, written_for, trust)
    return _fitting(Model(data, card or written_for, path), path.suffix)


def read_openvino(path: Path, card: ModelCard | None, trust: bool) -> Model:
    """Read OpenVINO IR; see `load_model`."""
    if b"<net" not in _read(path)[:1000]:
        raise ModelError(f"{path} is not OpenVINO IR: no <net> in it; export it with fiqa-export --format openvino")
    return read_with_card(path, card, trust)


def read_with_card(path: Path, card: ModelCard | None, trust: bool) -> Model:
    """Read a file with the files beside it, and compare them with the SHA-256 on the card; see `load_model`."""
    beside = next(format_.beside for format_ in FORMATS.values() if format_.suffix == path.suffix.lower())
    others = [suffix for suffix in beside if suffix != ".json"]
    data, weights = _read(path), b"".join(_read(path.with_suffix(suffix)) for suffix in others)
    model = _fitting(Model(data, card or read_card_beside(path), path, weights), path.suffix)
    wanted, digest = model.card.engine.sha256, model.sha256
    if not wanted and not trust:
        raise ModelError(
            f"{path}: its card names no SHA-256, so the file cannot be compared with it; export the model "
            "again, or, if it is your own, give trust=True (--trust)"
        )
    if wanted and wanted != digest:
        raise ModelError(
            f"{' and its '.join([str(path), *others])} have SHA-256 {digest}, their card says {wanted}: "
            "they are damaged or of another export; export the model again"
        )
    return model


def _fitting(model: Model, suffix: str) -> Model:
    """Return the model if the format on its card has this suffix.

    Raises:
        ModelError: The card is for a file of another format.
    """
    titles = {name: format_.title for name, format_ in FORMATS.items() if format_.suffix == suffix.lower()}
    if model.card.format not in titles:
        title = next(iter(titles.values()))
        raise ModelError(
            f"{model.path} is {title}, but its card says {model.card.format!r}, wanted {' or '.join(titles)}; export "
            "the model again, or correct the card"
        )
    return model


def card_inside(data: bytes) -> ModelCard | None:
    """Return the card in an ONNX file's metadata, None where it has none.

    Raises:
        ModelError: The bytes are no ONNX file, or the card is wrong.
    """
    written = read_metadata(data).get(METADATA_KEY)
    return ModelCard.from_json(written) if written else None


def _read(path: Path) -> bytes:
    return read_file(path, ModelError, f"give a name, or a file that ends in one of: {', '.join(SUFFIXES)}", LARGEST)

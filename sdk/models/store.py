"""The store: finds a model's file on this machine or downloads it. A file is used only if its SHA-256 is right.

Environment variables:

- `FIQA_MODELS`: a folder that is searched first. Nothing is written there.
- `FIQA_CACHE`: the folder of downloads (default: the user's cache folder).
- `FIQA_OFFLINE`: `1` forbids the network.
- `FIQA_MIRROR`: base URLs, separated by spaces. `<base>/<file name>` is tried before the published addresses.
"""

import hashlib
import logging
import os
import time
from pathlib import Path
from typing import Any

from sdk.errors import FiqaError, ModelError
from sdk.files import read_file, write_file
from sdk.files.cache import cache_dir
from sdk.models.catalog import CatalogEntry, find_entry

logger = logging.getLogger(__name__)

ATTEMPTS = 2
"""Number of times that each address is tried."""

LARGEST = 512 << 20
"""Largest file, bytes, if the catalogue does not know its size."""


def find_model(name: str) -> tuple[Path, bytes] | None:
    """Find a model's file on this machine, without the network.

    The search goes through `FIQA_MODELS`, the package and the cache, then the same for the entry's alternatives.

    Returns:
        The file's path and its content, whose hash is right; None if there is no such file.

    Raises:
        ModelError: The name is unknown, or a file with the right name has a wrong hash or cannot be read.
    """
    entry = find_entry(name)
    for path in _places(entry):
        if os.path.isfile(path):
            return path, _read_checked(path, entry)
    for other in entry.alternatives:
        found = find_model(other)
        if found is not None:
            logger.info("model %s: taking %s, the same network, from %s", name, other, found[0])
            return found
    return None


def locate_model(name: str) -> Path | None:
    """Return the path that `find_model` finds; None if there is none."""
    found = find_model(name)
    return found[0] if found else None


def fetch_model(name: str, progress: Any = False) -> Path:
    """Find a model's file on this machine, or download it. Before a download, terms that forbid to ship it are logged.

    Args:
        name: Name in the catalogue.
        progress: False, or an object with `total`, `update`, `reset` and `close`, such as a bar of tqdm.

    Returns:
        Path of the file, whose hash is right.

    Raises:
        ModelError: The name is unknown, a hash is wrong, the network is down or forbidden, or the cache cannot be
            written.
    """
    return obtain_model(name, progress)[0]


def obtain_model(name: str, progress: Any = False) -> tuple[Path, bytes]:
    """Find or download a model like `fetch_model`; return its path and its content."""
    return find_model(name) or _download(name, find_entry(name), progress)


def terms(name: str) -> str:
    """Return the terms of a model of the catalogue in a line: its licence, and why it may be shipped or not."""
    entry = find_entry(name)
    return f"{name}: licence: {entry.card.licence}. {entry.ship_reason}"


def _download(name: str, entry: CatalogEntry, progress: Any) -> tuple[Path, bytes]:
    by_hand = f"or put {entry.file} into a folder and set FIQA_MODELS to it"
    if entry.embedded is not None:
        raise ModelError(f"model {name} belongs to the package, but {entry.embedded} is missing; install fiqa again")
    if os.environ.get("FIQA_OFFLINE", "") not in ("", "0"):
        raise ModelError(
            f"model {name} is not on this machine and FIQA_OFFLINE forbids the network; unset it, {by_hand}"
        )
    from sdk.models.download import check_address, download

    addresses = _addresses(entry)
    for url in addresses:
        check_address(url)
    path = _writable_place(entry)
    if entry.ship == "no":
        logger.warning("%s", terms(name))
    failures = []
    for url in addresses:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(1)
            try:
                data = download(url, entry.size or LARGEST, progress)
                _check_hash(data, entry)
            except OSError as error:
                failures.append(str(error))
                continue
            try:
                write_file(path, data)
            except FiqaError as error:
                raise ModelError(f"the cache {error}, or set FIQA_CACHE to a folder that can be written") from error
            return path, data
    raise ModelError(
        f"model {name} could not be downloaded; check the network, set FIQA_MIRROR, {by_hand}. Tried: "
        + "; ".join(dict.fromkeys(failures))
    )


def _read_checked(path: Path, entry: CatalogEntry) -> bytes:
    data = read_file(path, ModelError, "change its permissions or delete it", entry.size or LARGEST)
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise ModelError(
            f"{path} has SHA-256 {found}, wanted {entry.sha256}: it is damaged or another file; "
            "delete it and fetch the model again, or give its path as the model if it is meant"
        )
    return data


def _check_hash(data: bytes, entry: CatalogEntry) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise OSError(f"what came has the SHA-256 hash {found}, wanted {entry.sha256} ({len(data):,} bytes)")


def _places(entry: CatalogEntry) -> list[Path]:
    given = os.environ.get("FIQA_MODELS")
    places = [Path(os.path.expanduser(given)) / entry.file] if given else []
    if entry.embedded is not None:
        return [*places, entry.embedded]
    try:
        return [*places, cache_dir() / entry.file]
    except OSError:  # there is no cache
        return places


def _addresses(entry: CatalogEntry) -> list[str]:
    mirrors = os.environ.get("FIQA_MIRROR", "").split()
    return [f"{base.rstrip('/')}/{entry.file}" for base in mirrors] + list(entry.urls)


def _writable_place(entry: CatalogEntry) -> Path:
    """Return the path of a download. Its folder is made.

    Raises:
        ModelError: The folder cannot be made or written.
    """
    folder: Path | str = "folder"
    try:
        folder = cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(
            f"the cache {folder} cannot be written: {reason}; set FIQA_CACHE to a folder that can"
        ) from error
    return folder / entry.file

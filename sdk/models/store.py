"""The store: where a model's file is, and how it gets there. Nothing is used before its SHA-256 has been compared.

Environment variables:

- `FIQA_MODELS`: a directory that is looked in first. A file there is taken by name and hash, never written.
- `FIQA_CACHE`: where downloads go (default: the user's cache directory).
- `FIQA_OFFLINE`: `1` forbids the network.
- `FIQA_MIRROR`: base URLs, separated by spaces, tried before the published ones: `<base>/<file name>`.
"""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sdk.errors import ModelError
from sdk.files import cache_dir
from sdk.models.catalog import CatalogEntry, find_entry

logger = logging.getLogger(__name__)

ATTEMPTS = 2
"""How often each address is tried."""

TIMEOUT = 30
"""Seconds without an answer after which an address is given up."""


def find_model(name: str) -> tuple[Path, bytes] | None:
    """Find a model's file on this machine, with the right hash, without the network: its path and its content.

    Looked in, in this order: `FIQA_MODELS`, the package, the cache; then the same for the entry's alternatives.

    Raises:
        ModelError: The name is unknown, or a file has the right name and a wrong hash or cannot be read.
    """
    entry = find_entry(name)
    for path in _places(entry):
        if path.is_file():
            return path, _read_checked(path, entry)
    for other in entry.alternatives:
        found = find_model(other)
        if found is not None:
            logger.info("model %s: taking %s, the same network, from %s", name, other, found[0])
            return found
    return None


def locate_model(name: str) -> Path | None:
    """The path that `find_model` finds."""
    found = find_model(name)
    return found[0] if found else None


def fetch_model(name: str, progress: Any = False) -> Path:
    """Find a model's file on this machine or download it.

    Args:
        name: Name in the catalogue.
        progress: What `pooch.HTTPDownloader` takes as `progressbar`: False, True (needs tqdm), or an object with
            `total`, `update`, `reset` and `close`.

    Returns:
        Path of the file, its hash checked.

    Raises:
        ModelError: The name is unknown, a hash is wrong, the network is not there or not allowed, or the cache cannot
            be written.
    """
    path = locate_model(name)
    if path is not None:
        return path
    entry = find_entry(name)
    by_hand = f"or put {entry.file} into a directory and set FIQA_MODELS to it"
    if entry.embedded is not None:
        raise ModelError(f"model {name} belongs to the package, but {entry.embedded} is missing; install fiqa again")
    if os.environ.get("FIQA_OFFLINE", "") not in ("", "0"):
        raise ModelError(
            f"model {name} is not on this machine and FIQA_OFFLINE forbids the network; unset it, {by_hand}"
        )
    failures = []
    for url in _addresses(entry):
        try:
            return _download(url, entry, progress)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; pooch's wrong hash is a ValueError
            failures.append(f"{url}: {error}")
    raise ModelError(
        f"model {name} could not be downloaded; check the network, set FIQA_MIRROR, {by_hand}. Tried:\n"
        + "\n".join(failures)
    )


def _read_checked(path: Path, entry: CatalogEntry) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}; change its permissions or delete it") from error
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise ModelError(
            f"{path} has SHA-256 {found}, wanted {entry.sha256}: it is damaged or another file; "
            "delete it and fetch the model again, or give its path as the model if it is meant"
        )
    return data


def _places(entry: CatalogEntry) -> list[Path]:
    given = os.environ.get("FIQA_MODELS")
    places = [Path(given).expanduser() / entry.file] if given else []
    return [*places, entry.embedded or cache_dir() / entry.file]


def _addresses(entry: CatalogEntry) -> list[str]:
    mirrors = os.environ.get("FIQA_MIRROR", "").split()
    return [f"{base.rstrip('/')}/{entry.file}" for base in mirrors] + list(entry.urls)


def _download(url: str, entry: CatalogEntry, progress: Any) -> Path:
    """Download to a temporary file beside the target, compare the hash, rename."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")):
        raise ModelError(f"{url} is not HTTPS (plain HTTP is allowed from this machine only); correct FIQA_MIRROR")
    import pooch

    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise _not_writable(folder, PermissionError(13, "Permission denied"))
    logger.info("downloading %s to %s", url, folder)
    pooch.get_logger().setLevel("WARNING")
    store = pooch.create(
        folder, base_url="", registry={entry.file: f"sha256:{entry.sha256}"}, urls={entry.file: url},
        retry_if_failed=ATTEMPTS - 1,
    )  # fmt: skip
    return Path(store.fetch(entry.file, downloader=pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUT)))


def _not_writable(folder: Path, error: OSError) -> ModelError:
    return ModelError(f"the cache {folder} cannot be written: {error.strerror}; set FIQA_CACHE to a directory that can")

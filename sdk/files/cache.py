"""The cache: a folder of files that can be made again. Without a cache everything works, but slower."""

import errno
import logging
import os
from pathlib import Path

from sdk.errors import FiqaError
from sdk.files.paths import is_stream
from sdk.files.reading import read_file
from sdk.files.writing import write_file

logger = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Return the folder of downloads and other files that can be made again. It need not exist.

    It is `FIQA_CACHE` if that is set, else the user's cache folder.

    Raises:
        OSError: The user has no home folder, or pooch is not installed, so there is no cache.
    """
    try:
        if given := os.environ.get("FIQA_CACHE"):
            return Path(given).expanduser()
        import pooch

        folder = Path(pooch.os_cache("fiqa"))
    except (RuntimeError, KeyError, ImportError) as error:
        reason = "pooch is not installed" if isinstance(error, ImportError) else "there is no home folder"
        raise FileNotFoundError(errno.ENOENT, f"{reason}; set FIQA_CACHE") from error
    if not folder.is_absolute():  # without a home folder, "~" is not replaced
        raise FileNotFoundError(errno.ENOENT, "there is no home folder; set FIQA_CACHE")
    return folder


def keep_in_cache(data: bytes, *parts: str) -> Path | None:
    """Write a file into the cache.

    Args:
        data: Its content.
        parts: Its path below `cache_dir()`.

    Returns:
        The full path; None, with a line in the log, if it cannot be written.
    """
    try:
        path = cache_dir().joinpath(*parts)
        if is_stream(path):
            raise FileExistsError(errno.EEXIST, "a pipe or a device has this name")
        write_file(path, data)
    except (OSError, FiqaError) as error:
        logger.info("%s is not kept: %s", "/".join(parts), error)
        return None
    return path


def find_in_cache(*parts: str) -> bytes | None:
    """Read a file that `keep_in_cache` wrote; return None if it is not there or cannot be read."""
    try:
        return read_file(cache_dir().joinpath(*parts), FiqaError, "it is made again")
    except (OSError, FiqaError):
        return None

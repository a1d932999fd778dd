"""The cache: the user's folder of files that can be made again. Without one everything works, only slower."""

import errno
import logging
import os
from pathlib import Path

from sdk.errors import FiqaError
from sdk.files import is_stream, read_file, write_file

logger = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Give the folder of downloads and of other files that can be made again; it need not exist yet.

    It is `FIQA_CACHE` where that is set, else the user's cache folder.

    Raises:
        OSError: The user has no home folder, so that there is no cache either.
    """
    try:
        if given := os.environ.get("FIQA_CACHE"):
            return Path(given).expanduser()
        import pooch

        folder = Path(pooch.os_cache("fiqa"))
    except (RuntimeError, KeyError, ImportError) as error:
        reason = "pooch is not installed" if isinstance(error, ImportError) else "there is no home folder"
        raise FileNotFoundError(errno.ENOENT, f"{reason}; set FIQA_CACHE") from error
    if not folder.is_absolute():  # "~" stays where nobody knows the home folder
        raise FileNotFoundError(errno.ENOENT, "there is no home folder; set FIQA_CACHE")
    return folder


def keep_in_cache(data: bytes, *parts: str) -> Path | None:
    """Write a file of the cache that can be made again.

    Args:
        data: What is in it.
        parts: Where, below `cache_dir()`.

    Returns:
        Its path; None, and a line in the log, where it cannot be written.
    """
    try:
        path = cache_dir().joinpath(*parts)
        if is_stream(path):
            raise FileExistsError(errno.EEXIST, "a pipe or a device is there, which would be waited for")
        write_file(path, data)
    except (OSError, FiqaError) as error:
        logger.info("%s is not kept: %s", "/".join(parts), error)
        return None
    return path


def find_in_cache(*parts: str) -> bytes | None:
    """Read a file that `keep_in_cache` wrote; None where it is not there or cannot be read."""
    try:
        return read_file(cache_dir().joinpath(*parts), FiqaError, "it is made again")
    except (OSError, FiqaError):
        return None

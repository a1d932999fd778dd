"""TensorRT and TensorRT-RTX: two libraries with one interface, imported when an engine is built or run."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sdk.errors import DeviceError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Library:
    """TensorRT or TensorRT-RTX.

    Attributes:
        module: Name of the Python module.
        name: NVIDIA's name.
        install: Text that says how to install it.
    """

    module: str
    name: str
    install: str


LIBRARIES = {
    "tensorrt": Library(
        "tensorrt",
        "TensorRT",
        "pip install 'fiqa[tensorrt]'; on a Jetson it comes with JetPack: use a venv with --system-site-packages",
    ),
    "tensorrt-rtx": Library("tensorrt_rtx", "TensorRT-RTX", "pip install 'fiqa[tensorrt-rtx]' (x86-64)"),
}
"""By the format of the model file; see `sdk.models.formats.FORMATS`."""

_LOGGERS: dict[str, Any] = {}


def load_library(file_format: str) -> Any:
    """Import the library that runs a format.

    Raises:
        DeviceError: It is not installed, or cannot be loaded.
    """
    library = LIBRARIES[file_format]
    try:
        return import_module(library.module)
    except (ImportError, OSError) as error:
        raise DeviceError(f"{library.name} cannot be loaded ({error}): {library.install}") from error


def shared_logger(library: Any) -> Any:
    """Return the library's logger. A process has only one, because the library keeps the first that it gets.

    Its messages go to Python's `logging`, and to the list of `recorded` in the same thread.
    """
    if library.__name__ not in _LOGGERS:
        levels = {"VERBOSE": logging.DEBUG, "INFO": logging.DEBUG, "WARNING": logging.INFO}

        class Logger(library.ILogger):  # type: ignore[misc]  # the base is known only when the library is
            def __init__(self) -> None:
                super().__init__()
                self.heard = threading.local()

            def log(self, severity: Any, message: str) -> None:
                # Errors are raised as exceptions with the same text, so here they are only warnings.
                logger.log(levels.get(severity.name, logging.WARNING), "%s: %s", library.__name__, message)
                if (heard := getattr(self.heard, "lines", None)) is not None:
                    heard.append(f"error: {message}" if severity.name in ("ERROR", "INTERNAL_ERROR") else message)

        _LOGGERS[library.__name__] = Logger()
    return _LOGGERS[library.__name__]


@contextmanager
def recorded(library: Any) -> Iterator[list[str]]:
    """Collect the library's messages of this thread during the block; errors begin with `error: `."""
    own = shared_logger(library).heard
    before, own.lines = getattr(own, "lines", None), []
    try:
        yield own.lines
    finally:
        own.lines = before


def complaints(heard: list[str]) -> str:
    """Return the errors in the list of `recorded`, as one line."""
    found = [line.removeprefix("error: ").strip() for line in heard if line.startswith("error: ")]
    return "; ".join(dict.fromkeys(found)) or "the library does not say why"

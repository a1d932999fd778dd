"""TensorRT and TensorRT-RTX: two libraries with one interface, imported only where an engine is built or run."""

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
    """One of the two.

    Attributes:
        module: Python module.
        name: What NVIDIA calls it.
        install: How to get it.
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
"""By format of the file, see `sdk.models.card.ModelCard.format`."""

_LOGGERS: dict[str, Any] = {}


def load_library(style: str) -> Any:
    """The module of a format.

    Raises:
        DeviceError: It is not installed, or does not load.
    """
    library = LIBRARIES[style]
    try:
        return import_module(library.module)
    except (ImportError, OSError) as error:
        raise DeviceError(f"{library.name} cannot be loaded ({error}): {library.install}") from error


def shared_logger(library: Any) -> Any:
    """The logger that a library writes to. There is one a process, for the library keeps the first that it is given.

    What it says goes to Python's `logging`, and to whom `recorded` is listening.
    """
    if library.__name__ not in _LOGGERS:
        levels = {"VERBOSE": logging.DEBUG, "INFO": logging.DEBUG, "WARNING": logging.INFO}

        class Logger(library.ILogger):  # type: ignore[misc]  # the base is known only when the library is
            def __init__(self) -> None:
                super().__init__()
                self.heard = threading.local()

            def log(self, severity: Any, message: str) -> None:
                # Errors become exceptions, which say what the library said; in the log they are for the curious.
                logger.log(levels.get(severity.name, logging.WARNING), "%s: %s", library.__name__, message)
                if (heard := getattr(self.heard, "lines", None)) is not None:
                    heard.append(f"error: {message}" if severity.name in ("ERROR", "INTERNAL_ERROR") else message)

        _LOGGERS[library.__name__] = Logger()
    return _LOGGERS[library.__name__]


@contextmanager
def recorded(library: Any) -> Iterator[list[str]]:
    """Collect what a library says meanwhile in this thread; errors begin with `error: `."""
    own = shared_logger(library).heard
    before, own.lines = getattr(own, "lines", None), []
    try:
        yield own.lines
    finally:
        own.lines = before


def complaints(heard: list[str]) -> str:
    """The errors of `recorded`, on one line."""
    found = [line.removeprefix("error: ").strip() for line in heard if line.startswith("error: ")]
    return "; ".join(dict.fromkeys(found)) or "the library does not say why"

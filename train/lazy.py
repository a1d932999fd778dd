"""Things that are made in the process that uses them."""

import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sdk.errors import InputError
from sdk.text import shortened

Thing = TypeVar("Thing")


class Lazily(Generic[Thing]):
    """Makes a thing at the first call and gives the same one at each; a pickled copy makes its own.

    So a labeller travels to other processes and machines without its network on a GPU or its sessions of native code.

    Args:
        make: Makes the thing; must be picklable where the labeller is to travel.
    """

    def __init__(self, make: Callable[[], Thing]) -> None:
        self._make = make
        self._made: list[Thing] = []
        self._lock = threading.Lock()

    def __call__(self) -> Thing:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
        return self._made[0]

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._make,)


def import_named(name: str, what: str) -> Any:
    """Import a thing by its name; its module may also be in the current folder.

    Args:
        name: `module:name`.
        what: What is wanted, for errors.

    Raises:
        InputError: The name is of another form, or there is no such module or thing in it.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise InputError(f"{what} {shortened(name)!r} is no name, wanted module:name")
    if "" not in sys.path:
        sys.path.append("")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise InputError(f"{what} {name}: no module {module}; run in its folder, or install it") from error
    except AttributeError as error:
        raise InputError(f"{what} {name}: {shortened(error)}") from error

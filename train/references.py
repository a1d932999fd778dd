"""Code of a user's own, named as `module:name`."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sdk.errors import InputError
from sdk.text import shortened


def resolve(reference: str) -> Any:
    """Import what `module:name` names. Installed packages are searched first, then the current folder.

    Raises:
        InputError: There is no such module, its import fails, or it has no such name.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise InputError(f"{shortened(repr(reference))} is no reference, wanted module:name, such as mymodule:MyClass")
    module = _import(module_name, reference)
    try:
        return getattr(module, name)
    except AttributeError as error:
        names = [known for known in vars(module) if not known.startswith("_")]
        raise InputError(
            f"{reference}: {module.__file__ or module_name} has no {name!r}, "
            f"only {shortened(', '.join(names)) or 'nothing'}; name one of these"
        ) from error


def _import(name: str, reference: str) -> ModuleType:
    if name.startswith("train."):  # an error of this import is no user's
        return importlib.import_module(name)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # at the end, so that a file here cannot take the place of an installed module
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise InputError(
                f"{reference}: there is no module {error.name!r}, neither installed nor in {here}; "
                "install it, or start in its folder"
            ) from error
        raise InputError(f"{reference}: importing {name} failed: {shortened(error)}; install what it needs") from error
    except Exception as error:
        raise InputError(
            f"{reference}: importing {name} failed: {type(error).__name__}: {shortened(error)}; correct the module"
        ) from error

"""Recipes: YAML files whose sections become settings, strictly."""

import dataclasses
import os
import subprocess
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from sdk import __version__
from sdk.errors import InputError
from sdk.text import shortened
from train.regressors import REGRESSORS
from train.yaml_files import read_yaml

Settings = TypeVar("Settings")

Recipe = dict[str, Any]

SECTIONS = (
    "network",
    "name",
    "start",
    "card",
    "prepare",
    "scenes",
    "damage",
    "refine",
    "teacher",
    "diffusion",
    "faceqan",
    *REGRESSORS,
    "targets",
    "warm_up",
    "training",
    "peers",
    "evaluate",
    "calibrate",
)
"""Sections of a recipe; a command takes those that it needs. One more may be a method of one's own, `module:class`."""

NAMES = ("network", "name", "start")
"""Sections that are a name: of the network to train; of its column in results, by default that of the network; and of
the model whose backbone the training starts from, `fiqa-nano`, the one in the package. By default it starts from the
teacher's weights."""


def read_recipe(name_or_path: str) -> Recipe:
    """Read a recipe of `train/configs` by name, or a file by path.

    Raises:
        InputError: There is no such recipe, it is not a YAML mapping, or it has an unknown section.
    """
    folder = resources.files("train") / "configs"
    names = sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
    if name_or_path in names:
        with resources.as_file(folder / f"{name_or_path}.yaml") as path:
            return _checked(read_yaml(path), name_or_path)
    if os.path.lexists(name_or_path):
        return _checked(read_yaml(Path(name_or_path)), name_or_path)
    raise InputError(f"no recipe {shortened(name_or_path)!r}, wanted a YAML file or one of: {', '.join(names)}")


def _checked(recipe: Any, name: str) -> Recipe:
    if not isinstance(recipe, dict):
        raise InputError(f"recipe {name} is {_word(recipe)}, wanted a mapping of sections")
    for section, value in recipe.items():
        if section not in SECTIONS and ":" not in section:
            raise InputError(f"recipe {name} has a section {shortened(section)!r}, wanted: {', '.join(SECTIONS)}")
        wanted = str if section in NAMES else dict
        if not isinstance(value, wanted) and (value is not None or section in NAMES):
            kind = "a name" if section in NAMES else "a mapping of settings"
            raise InputError(f"recipe {name}: {section} is {_described(value)}; wanted {kind}")
    return recipe


def settings_from(kind: type[Settings], section: Mapping[str, Any] | None) -> Settings:
    """Make a settings dataclass from a recipe's section; what the section leaves out keeps its default.

    Raises:
        InputError: A key is not a field, or a value is not of the field's type.
    """
    if not isinstance(section or {}, Mapping):
        raise InputError(f"{kind.__name__} is {_described(section)}; wanted a mapping of settings")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    types, values = get_type_hints(kind), {}
    for key, value in (section or {}).items():
        if key not in fields:
            raise InputError(f"{kind.__name__} has no setting {shortened(key)!r}, wanted one of: {', '.join(fields)}")
        default, name = fields[key].default, f"{kind.__name__}.{key}"
        if default is None and value is not None:
            default = next(item for item in get_args(types[key]) if item is not NoneType)()
        values[key] = _value_of(value, default, name)
    return kind(**values)


def _value_of(value: Any, default: Any, name: str) -> Any:
    """Return a setting's value in the type of its default."""
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        if default and dataclasses.is_dataclass(default[0]):
            return tuple(settings_from(type(default[0]), item) for item in value)
        return tuple(_value_of(item, default[0], name) for item in value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise InputError(f"{name} is {_described(value)}; wanted {_word(default)}")
    return value


def _described(value: Any) -> str:
    return f"{shortened(repr(value))} ({_word(value)})"


def _word(value: Any) -> str:
    """Name the type of a value, as YAML's users call it."""
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping"}
    return words.get(type(value), "nothing" if value is None else "a list")


def check_least(settings: object, least: int, *names: str) -> None:
    """Refuse settings that are too small.

    Raises:
        InputError: One is below `least`.
    """
    for name in names:
        value = getattr(settings, name)
        if value < least:
            raise InputError(f"{name} is {value}, wanted {least} or more")


def text_of(section: Mapping[str, Any], name: str, where: str) -> str:
    """Return a setting that must be there and be text.

    Raises:
        InputError: It is missing or something else.
    """
    value = section.get(name)
    if not isinstance(value, str) or not value:
        raise InputError(f"{where}.{name} is {shortened(repr(value))}, wanted text; write it into the recipe")
    return value


def training_commit() -> str:
    """Return the commit of this code where it runs from a checkout, else its version."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"fiqa {__version__}"

"""Recipes: YAML files whose sections become settings, strictly."""

import dataclasses
import subprocess
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sdk import __version__
from sdk.errors import InputError

Settings = TypeVar("Settings")

Recipe = dict[str, Any]

SECTIONS = (
    "network",
    "card",
    "prepare",
    "scenes",
    "teacher",
    "diffusion",
    "faceqan",
    "ediffiqa",
    "regression",
    "aikd",
    "targets",
    "warm_up",
    "training",
    "peers",
    "evaluate",
)
"""What a recipe may hold; a command takes those that it needs."""


def read_recipe(name_or_path: str) -> Recipe:
    """Read a recipe of `train/configs` by name, or a file by path.

    Raises:
        InputError: There is no such recipe, it is not a YAML mapping, or it has an unknown section.
    """
    folder = resources.files("train") / "configs"
    names = sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
    if name_or_path in names:
        text = (folder / f"{name_or_path}.yaml").read_text()
    elif Path(name_or_path).is_file():
        text = Path(name_or_path).read_text()
    else:
        raise InputError(f"no recipe {name_or_path!r}, wanted a YAML file or one of: {', '.join(names)}")
    try:
        recipe = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"recipe {name_or_path} is not YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise InputError(f"recipe {name_or_path} is a {type(recipe).__name__}, wanted a mapping")
    for section in recipe:
        if section not in SECTIONS:
            raise InputError(f"recipe {name_or_path} has a section {section!r}, wanted: {', '.join(SECTIONS)}")
    return recipe


def settings_from(kind: type[Settings], section: Mapping[str, Any] | None) -> Settings:
    """A settings dataclass from a recipe's section; what the section leaves out keeps its default.

    Raises:
        InputError: A key is not a field, or a value is not of the field's type.
    """
    if not isinstance(section or {}, Mapping):
        raise InputError(f"{kind.__name__} is {section!r}, a {type(section).__name__}; wanted a mapping of settings")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {}
    for key, value in (section or {}).items():
        if key not in fields:
            raise InputError(f"{kind.__name__} has no setting {key!r}, wanted one of: {', '.join(fields)}")
        default = fields[key].default
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if isinstance(default, tuple) and isinstance(value, list):
            value = tuple(value)
            if default and dataclasses.is_dataclass(default[0]):
                value = tuple(settings_from(type(default[0]), item) for item in value)
        if default is not dataclasses.MISSING and default is not None and type(value) is not type(default):
            raise InputError(
                f"{kind.__name__}.{key} is {value!r}, a {type(value).__name__}; wanted a {type(default).__name__}"
            )
        values[key] = value
    return kind(**values)


def training_commit() -> str:
    """Commit of this code where it runs from a checkout, else its version."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"fiqa {__version__}"

"""YAML files from anybody: plain values only; size, depth and repetition by aliases have limits."""

import math
from pathlib import Path
from typing import Any

import yaml

from sdk.errors import InputError
from sdk.files import read_text
from sdk.text import shortened

LARGEST = 1 << 20
"""Bytes of a file."""

DEEPEST = 20
"""Collections within collections."""

MOST_VALUES = 10_000
"""Values of a file; an alias counts as all the values that it stands for."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a mapping that has a key twice; YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key_node, _ in node.value:
            if key_node.tag != "tag:yaml.org,2002:merge":
                key = self.construct_object(key_node, deep=True)
                if key in seen:
                    line = key_node.start_mark.line + 1
                    raise InputError(f"the key {shortened(repr(key))} stands twice in line {line}")
                seen.append(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file of mappings with text as keys, lists, text, finite numbers, booleans and null.

    Raises:
        InputError: The file cannot be read, or holds something else.
    """
    text = read_text(path, InputError, "give a recipe, a YAML file", LARGEST)
    try:
        _check_size(text)
        found = yaml.load(text, _Loader)
        _check_values(found, "the recipe")
    except InputError as error:
        raise InputError(f"{path} is no recipe: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {_problem(error)}") from error
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} is no recipe: {shortened(error)}") from error
    return found


def _problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}" if mark is not None else ""
    return shortened(getattr(error, "problem", None) or getattr(error, "reason", None) or error) + where


def _check_size(text: str) -> None:
    """Refuse too many values, or too deep ones, before any is made: the parser's events come one by one."""
    sizes: dict[str, int] = {}
    open_ones: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_ones.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise InputError(f"the alias *{shortened(event.anchor, 60)} names what holds it, or nothing")
            total += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_ones.pop()
            if anchor:
                sizes[anchor] = total - before
        if len(open_ones) > DEEPEST:
            raise InputError(f"lists and mappings are more than {DEEPEST} deep, wanted fewer")
        if total > MOST_VALUES:
            raise InputError(f"it has more than {MOST_VALUES:,} values, wanted fewer")


def _check_values(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InputError(f"{where} has the key {shortened(repr(key))}, wanted text")
            _check_values(item, shortened(key))
    elif isinstance(value, list):
        for item in value:
            _check_values(item, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where} is {value}, wanted a finite number")
    elif isinstance(value, int) and abs(value) >= 1 << 63:
        raise InputError(f"{where} is a number of {value.bit_length()} bits, wanted at most 63")
    elif value is not None and not isinstance(value, str | int | float):
        raise InputError(f"{where} is {shortened(repr(value))}, wanted text, numbers or lists")

"""What pyproject.toml says."""

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def extras() -> dict[str, list[str]]:
    """Requirements by name of the extra."""
    found: dict[str, list[str]] = PROJECT["optional-dependencies"]
    return found


def dependencies() -> dict[str, set[str]]:
    """The extras that name a package, by package; `base` for what is always installed."""
    named: dict[str, set[str]] = {}
    for extra, lines in {"base": PROJECT["dependencies"], **extras()}.items():
        for line in lines:
            named.setdefault(re.split(r"[ <>=!;~\[]", line)[0].lower(), set()).add(extra)
    return named

"""The one answer to "is this the same run?": what a run was made from, kept beside its results and compared."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdk.errors import InputError
from sdk.files import read_text
from sdk.text import shortened

_ANEW = "delete it to start anew"
_MISSING = object()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What decides the results of a run.

    A run goes on, or takes results that are there, only where their record is the same.

    Attributes:
        settings: Plain values, or mappings and lists of them, by name.
        inputs: Digest of each thing that was read, by the word for it in errors, such as `images`.
        free: Names of settings that decide no result, such as `workers`; they are kept, and not compared.
        earlier: Values that settings had before there was a choice: what a record without them means.
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    free: frozenset[str] = frozenset()
    earlier: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON values, to be kept in a file."""
        return _plain({**self.settings, **self.inputs})

    def difference(self, found: Mapping[str, Any]) -> str:
        """Return the first difference from another run's record, as words after "a run"; empty where there is none.

        Args:
            found: `as_dict` of the other run.
        """
        there, here = _plain({**self.earlier, **found}), self.as_dict()
        for name in {**here, **there}:  # settings, then inputs, then what only the other run has
            for place, old, new in _different(name, there.get(name, _MISSING), here.get(name, _MISSING), self.free):
                if name in self.inputs:
                    return f"with other {name}"
                place = shortened(place, 60)
                return f"with {place}={_shown(old)}, this one has {place}={_shown(new)}"
        return ""

    def check(self, found: Mapping[str, Any], path: Path, advice: str) -> None:
        """Refuse to go on with what another run has begun.

        Args:
            found: `as_dict` of that run.
            path: The file that keeps it.
            advice: What to do, as the end of the message.

        Raises:
            InputError: The runs differ; names the first difference.
        """
        if difference := self.difference(found):
            raise InputError(f"{path} is of a run {difference}; {advice}")


def digest(parts: Iterable[bytes | str]) -> str:
    """Return the SHA-256 of all parts, one after the other, in hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() if isinstance(part, str) else part)
    return total.hexdigest()


def read_record(path: Path) -> dict[str, Any]:
    """Read a record that was kept as a file of JSON.

    Raises:
        InputError: The file cannot be read, or is damaged.
    """
    return parse_record(read_text(path, InputError, _ANEW), path)


def parse_record(text: str | bytes, path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        text: The object.
        path: The file it was read from, for errors.

    Raises:
        InputError: The text is no JSON object.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({shortened(error)}); {_ANEW}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged (a {type(found).__name__}, wanted an object); {_ANEW}")
    return found


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON gives them back: tuples become lists."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(values)))
    return plain


def _different(name: str, old: Any, new: Any, free: frozenset[str]) -> Iterator[tuple[str, Any, Any]]:
    """Give the place and both values of each difference; a place is such as `training.groups.0.lr`."""
    if name.rpartition(".")[2] in free or old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**new, **old}:
            yield from _different(f"{name}.{key}", old.get(key, _MISSING), new.get(key, _MISSING), free)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _different(f"{name}.{index}", one, other, free)
    else:
        yield name, old, new


def _shown(value: Any) -> str:
    return "nothing" if value is _MISSING else shortened(repr(value))

"""What a run keeps beside its results, so that it goes on: small files of JSON, read back with care."""

import json
from pathlib import Path
from typing import Any

from sdk.errors import InputError
from sdk.files import read_text
from sdk.text import shortened

_ANEW = "delete it to start anew"


def read_kept(path: Path) -> dict[str, Any]:
    """Read a JSON object that a run wrote.

    Raises:
        InputError: The file cannot be read, or is damaged.
    """
    return parse_kept(read_text(path, InputError, _ANEW), path)


def parse_kept(text: str | bytes, path: Path) -> dict[str, Any]:
    """Read a JSON object of a file.

    Raises:
        InputError: It is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({shortened(error)}); {_ANEW}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged (a {type(found).__name__}, wanted an object); {_ANEW}")
    return found


def check_kept(found: dict[str, Any], wanted: dict[str, Any], what: str, advice: str, here: str = "this one") -> None:
    """Refuse to go on with what a run with other settings has begun.

    Args:
        found: Settings of that run.
        wanted: Settings of this run.
        what: The file or folder and its kind, such as "labels.journal is of a run".
        advice: What to do, as the end of the message.
        here: What has the settings that are wanted.

    Raises:
        InputError: They differ; names the first.
    """
    for key in sorted({*found, *wanted}):
        if key not in found or key not in wanted or found[key] != wanted[key]:
            shown = shortened(key, 60)
            old, new = (shortened(repr(each[key])) if key in each else "nothing" for each in (found, wanted))
            raise InputError(f"{what} with {shown}={old}, {here} has {shown}={new}; {advice}")

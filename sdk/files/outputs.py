"""Check a command's outputs before its work begins, so that no result is lost at the end."""

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from sdk.errors import InputError
from sdk.files.drafts import draft_beside
from sdk.files.paths import check_name, is_stream
from sdk.files.writing import copy_permissions, make_parents, write_errors


def check_place(path: Path) -> None:
    """Check that a file can be written at a path. Its folder is made; the file itself is not touched.

    Raises:
        InputError: The path is a folder, or cannot be written.
        OutputError: The disk is full.
    """
    check_name(path)
    with write_errors(path):
        if path.is_dir():
            raise InputError(f"{path} is a folder, wanted the path of a file")
        if is_stream(path):
            return
        target = Path(os.path.realpath(path))
        make_parents(target)
        with draft_beside(target) as draft:
            copy_permissions(target, draft)


def make_folder(path: Path) -> None:
    """Make an output folder, and check that files can be written in it.

    Raises:
        InputError: The folder cannot be made or written.
        OutputError: The disk is full.
    """
    check_name(path)
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        with draft_beside(path / "x"):
            pass


def check_suffix(option: str, path: Path, suffixes: Collection[str]) -> None:
    """Refuse an output file with the wrong suffix. A pipe or a device may have any name.

    Args:
        option: The option that gives the path, for example `--report`; named in the error.
        path: The file.
        suffixes: Allowed suffixes, lower-case, each with its dot.

    Raises:
        InputError: The file has another suffix.
    """
    check_name(path)
    with write_errors(path):
        if path.suffix.lower() not in suffixes and not is_stream(path):
            raise InputError(
                f"{option} {path} ends in {path.suffix or 'nothing'!r}, wanted one of: {', '.join(suffixes)}"
            )


def check_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[Path] = ()) -> None:
    """Refuse an output that is also an input or another output of the command.

    Files are compared, not names: two links to one file are the same.

    Args:
        outputs: Path by option; None for an option that was not given.
        inputs: Files that the command reads.

    Raises:
        InputError: Two paths are one file.
    """
    taken: dict[object, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        check_name(path)
        with write_errors(path):
            if is_stream(path):
                continue
            key = _identity(path)
        if key in taken:
            raise InputError(f"{option} {path} is the file of {taken[key]}, too; give each output a file of its own")
        taken[key] = f"{option} {path}"
    if not taken:
        return
    for path in inputs:
        try:
            key = _identity(path)
        except (OSError, ValueError):  # the error of an unreadable input comes when it is read
            continue
        if key in taken:
            raise InputError(f"{taken[key]} is an input, {path}, and would be overwritten; choose another place")


def _identity(path: Path) -> object:
    """Return a value that is equal for two paths of one file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino

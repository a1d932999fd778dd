"""Folders of several files that belong together: each appears whole, or none does."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdk.files import check_name, check_place, copy_rights, is_stream, make_folder, replace_file, write_errors


def move_file(draft: Path, path: Path) -> None:
    """Put a whole file in the place of another; see `replacing`.

    Raises:
        InputError: The place is wrong.
        OutputError: The disk is full.
    """
    check_name(path)
    with write_errors(path):
        target = Path(os.path.realpath(path))
        if is_stream(path) or os.stat(target.parent).st_dev != os.stat(draft).st_dev:
            replace_file(path, lambda new: shutil.copyfile(draft, new))
            return
        copy_rights(target, draft)
        os.replace(draft, target)


@contextmanager
def filling(folder: Path, name: str | None = None) -> Iterator[Path]:
    """Give an empty folder to write files in, and move them into another when the block ends without an error.

    Every file appears there whole; when one cannot, none does, as far as that can be known before.

    Args:
        folder: Where the files go; it is made.
        name: Of the empty folder, inside it; what a killed run has left there is removed. None for a new name. Only
            one process may fill a folder by one name.

    Raises:
        InputError: The place is wrong.
        OutputError: The disk is full.
    """
    make_folder(folder)
    draft = folder / (name or f".fiqa-{os.urandom(6).hex()}")
    try:
        with write_errors(draft):
            if name is not None and draft.is_dir():
                shutil.rmtree(draft)
            draft.mkdir()
        yield draft
        with write_errors(folder):
            files = sorted(file for file in draft.iterdir() if file.is_file())
        for file in files:
            check_place(folder / file.name)
        for file in files:
            move_file(file, folder / file.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)

"""Write several files that belong together: all of them appear in a folder, or none does."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdk.files.outputs import check_place, make_folder
from sdk.files.writing import move_file, write_errors


@contextmanager
def folder_draft(folder: Path, name: str | None = None) -> Iterator[Path]:
    """Give an empty folder to write files in, and move them into `folder` when the block ends without an error.

    Every file appears complete. Before the first move each target is checked, so if one file cannot be written, usually
    none is moved. Sub-folders are not moved; they are deleted.

    Args:
        folder: Target of the files; it is made.
        name: Name of the empty folder inside `folder`. What a killed run left in it is deleted first; only one process
            at a time may use one name. None for a new name.

    Yields:
        Path of the empty folder.

    Raises:
        InputError: The folder or a file cannot be written.
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

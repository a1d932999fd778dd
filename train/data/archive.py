"""Archives of folders of images: a `.tar` is unpacked whole or not at all, and never outside its folder."""

import logging
import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from sdk.errors import InputError
from sdk.files import check_name, make_folder, open_file, write_errors
from sdk.text import shortened

logger = logging.getLogger(__name__)

MOST_MEMBERS = 10_000_000

LARGEST_MEMBER = 1 << 30
"""Bytes of a file."""

_ADVICE = "copy or download it again"
_BLOCK = 1 << 20


def unpack(source: Path, unpacked: Path) -> Path:
    """Unpack a .tar, once, and return its top folder; return any other source as it is.

    Links and devices in the archive are left out, and the log says how many.

    Raises:
        InputError: The archive is missing, damaged or compressed, holds no or several top folders, or names that lead
            out of it.
        OutputError: The disk is full.
    """
    if source.suffix.lower() != ".tar":
        return source
    if not unpacked.exists():
        if not os.path.lexists(source):
            raise InputError(f"no file at {source}; give a .tar of a folder of images")
        temporary = unpacked.with_name(unpacked.name + ".tmp")
        with open_file(source, InputError, "give a .tar of a folder of images") as file:
            with write_errors(unpacked):
                shutil.rmtree(temporary, ignore_errors=True)
            try:
                make_folder(temporary)
                with _archive_errors(source):
                    _extract(file, source, temporary)
                with write_errors(unpacked):
                    temporary.rename(unpacked)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    folders = [path for path in unpacked.iterdir() if path.is_dir()]
    if len(folders) != 1:
        raise InputError(f"{source} holds {len(folders)} top folders, wanted one with a sub-folder for each person")
    return folders[0]


@contextmanager
def _archive_errors(source: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, ValueError, EOFError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source} is truncated, compressed or not a .tar ({shortened(error)}); {_ADVICE}") from error


def _extract(file: BinaryIO, source: Path, folder: Path) -> None:
    left_out: Counter[str] = Counter()
    count = 0
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # else each stays in memory
            count += 1
            if count > MOST_MEMBERS:
                raise InputError(f"{source} has more than {MOST_MEMBERS:,} files, wanted fewer; divide it")
            if kind := _odd_kind(member):
                left_out[kind] += 1
                continue
            target = folder / _safe(member.name, source)
            with write_errors(target):
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                _copy(file, member, target, source)
        _check_end(file, archive.offset, source)
    for kind, number in left_out.items():
        logger.warning("%d members of %s are left out: %s", number, source, kind)


def _odd_kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "links"
    if member.issparse():
        return "files with holes (pack them without --sparse)"
    if not member.isdir() and not member.isreg():
        return "devices and pipes"
    return f"files of more than {LARGEST_MEMBER:,} bytes" if member.size > LARGEST_MEMBER else ""


def _safe(name: str, source: Path) -> str:
    """Return the name of a member; refuse one that leads out of the folder."""
    check_name(name)
    parts = PurePosixPath(name).parts
    if name.startswith(("/", "\\")) or ".." in parts or ":" in name.partition("/")[0] or not name:
        raise InputError(f"{source} holds {shortened(name)!r}, wanted names below one folder; do not trust it")
    return name


def _copy(file: BinaryIO, member: tarfile.TarInfo, target: Path, source: Path) -> None:
    file.seek(member.offset_data)
    left = member.size
    with target.open("wb") as out:
        while left:
            block = file.read(min(_BLOCK, left))
            if not block:
                raise InputError(f"{source} is truncated in {member.name}; {_ADVICE}")
            out.write(block)
            left -= len(block)


def _check_end(file: BinaryIO, offset: int, source: Path) -> None:
    """Refuse an archive that ends without its mark, or whose reading ended at a damaged header."""
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise InputError(f"{source} is truncated or damaged at byte {offset:,}; {_ADVICE}")

"""Kinds of files in a folder: which are images, and what to say about those that cannot be read."""

import os
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

from sdk.images.headers.formats import HEIF_FORMATS, advice_for, foreign_format, is_readable

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"}
)
"""Suffixes of files that are taken as images without reading them."""

UNREADABLE_FILE = "a file that cannot be read"
"""Kind of a file that the system does not let us read."""

_HEIF_SUFFIXES = {".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC", ".avif": "AVIF"}
_RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef"}
    | {".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
"""Raw files of cameras. Many begin like a TIFF, whose first picture is only a thumbnail."""

_OTHER_SUFFIXES = frozenset(
    {".exr", ".hdr", ".j2k", ".jp2", ".jpf", ".jpx", ".jxl", ".jxr", ".psb", ".psd", ".svg", ".tga", ".xcf"}
    | {".pbm", ".pgm", ".pnm", ".ppm", ".ico"}
)
_PLAIN_SUFFIXES = frozenset(
    {".csv", ".html", ".htm", ".json", ".jsonl", ".log", ".md", ".npy", ".npz", ".onnx", ".parquet", ".pdf", ".pt"}
    | {".py", ".toml", ".tsv", ".txt", ".xml", ".xmp", ".yaml", ".yml", ".zip"}
)
"""Files that often lie beside photos and are not opened to find out what they are."""

_HEAD = 256


class FileKind(NamedTuple):
    """Kind of a file in a folder.

    Attributes:
        is_image: True if it is taken as an image.
        kind: For a picture that is not taken, its kind: a suffix or a format. Empty for files that are no pictures.
        advice: What to do with it.
    """

    is_image: bool
    kind: str = ""
    advice: str = ""


def look_at(path: str) -> FileKind:
    """Tell what a file is: by its suffix, or else by its first bytes."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in IMAGE_SUFFIXES or (suffix in _HEIF_SUFFIXES and can_read_heif()):
        return FileKind(True)
    if suffix in _PLAIN_SUFFIXES:
        return FileKind(False)
    if suffix in _RAW_SUFFIXES:
        return FileKind(False, suffix, "develop it to JPEG")
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            head = os.read(file, _HEAD)
        finally:
            os.close(file)
    except OSError as error:
        return FileKind(False, UNREADABLE_FILE, permission_advice(error))
    foreign = foreign_format(head)
    if is_readable(head) or (foreign in HEIF_FORMATS and can_read_heif()):
        return FileKind(True)
    if suffix in _HEIF_SUFFIXES or suffix in _OTHER_SUFFIXES:
        return FileKind(False, suffix, advice_for(foreign or _HEIF_SUFFIXES.get(suffix, "")))
    return FileKind(False, foreign, advice_for(foreign))


def permission_advice(error: OSError) -> str:
    """Return what to do about a file or folder that cannot be read."""
    return f"{error.strerror}: give yourself the right to read it"


@cache
def can_read_heif() -> bool:
    """Tell whether HEIC and AVIF files can be read."""
    return find_spec("pillow_heif") is not None

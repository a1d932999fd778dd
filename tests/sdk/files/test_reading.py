"""Reading: regular files of a limited size, and one class of error for everything else."""

import os
from pathlib import Path

import pytest

from sdk.errors import FiqaError, ImageError, InputError, ModelError
from sdk.files import read_file, read_text


@pytest.mark.parametrize("kind", [ImageError, ModelError, InputError])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none", "No such file"),
        ("folder", "a folder|Is a directory"),
        ("pipe", "is a pipe"),
        ("/dev/zero", "is a device"),
        ("a\0b", "NUL"),
        ("\ud800", "no name of a file"),
        ("b" * 300, "too long"),
        ("large", "has 11 bytes, wanted at most 10"),
    ],
)
def test_what_is_not_read(name: str, says: str, kind: type[FiqaError], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"12345678901")
    with pytest.raises(kind, match=says):
        read_file(tmp_path / name, kind, "give a file", 10)


def test_text_is_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes("\ufeffJörg".encode())
    assert read_text(path, InputError, "") == "Jörg"
    path.write_bytes("Jörg".encode("latin-1"))
    with pytest.raises(InputError, match=r"is not UTF-8 .* at byte 1"):
        read_text(path, InputError, "")

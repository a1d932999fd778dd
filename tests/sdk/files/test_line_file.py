"""Lines appear at once, whole, and from one writer at a time."""

import errno
import os
from pathlib import Path

import pytest

from sdk.errors import InputError, OutputError
from sdk.files import LineFile


def test_lines_are_there_at_once_and_others_wait(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = LineFile(path)
    first.write(b'{"a": 1}\n')
    assert path.read_bytes() == b'{"a": 1}\n'
    with pytest.raises(InputError, match="being written by another run"):
        LineFile(path)
    first.close()
    second = LineFile(path)
    second.write(b'{"b": 2}\n')
    second.close()
    assert path.read_bytes() == b'{"a": 1}\n{"b": 2}\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"x\n", b"x\n"),
        (b'{"a": 1}\n{"b": ', b'{"a": 1}\n'),
        (b'{"a": 1}\n{"b": 2}', b'{"a": 1}\n{"b": 2}\n'),
        (b'{"torn', b""),
        (b"a,b\n1,2", b"a,b\n1,2\n"),
        (b'{"long": "' + b"x" * 200_000, b""),
        (b"1\n" + b"y" * 200_000, b"1\n" + b"y" * 200_000 + b"\n"),
    ],
)
def test_a_torn_last_line_does_not_swallow_the_next(before: bytes, after: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(before)
    lines = LineFile(path)
    lines.write(b"next\n")
    lines.close()
    assert path.read_bytes() == after + b"next\n"


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = LineFile(tmp_path / "a")
    lines.write(b"whole\n")

    def full(self: LineFile, data: bytes) -> None:
        os.write(self._file.fileno(), data[:3])
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(LineFile, "_write_all", full)
    with pytest.raises(OutputError, match="make room"):
        lines.write(b"second\n")
    assert (tmp_path / "a").read_bytes() == b"whole\n"


def test_lines_can_be_cut(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old\nold\n")
    lines = LineFile(tmp_path / "a")
    lines.cut()
    lines.write(b"new\n")
    assert (tmp_path / "a").read_bytes() == b"new\n"

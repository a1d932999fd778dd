"""One way to write files: whole or not at all, whatever stands in the place."""

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdk import files
from sdk.errors import FiqaError, ImageError, InputError, ModelError, OutputError
from sdk.files import (
    LineFile,
    cache,
    check_outputs,
    check_place,
    check_suffix,
    read_file,
    read_text,
    replacing,
    write_file,
)

WRITERS: dict[str, Callable[[Path], object]] = {
    "write_file": lambda path: write_file(path, "new"),
    "write_json": lambda path: files.write_json(path, {"new": 1}),
    "replace_file": lambda path: files.replace_file(path, lambda draft: draft.write_text("new")),
    "LineFile": lambda path: LineFile(path).write(b"new\n"),
    "check_place": check_place,
}
WHOLE = ("write_file", "write_json", "replace_file")


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def half(draft: Path, error: BaseException) -> None:
    draft.write_text("half")
    raise error


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", WHOLE)
def test_a_new_file_has_the_rights_of_the_umask(name: str, tmp_path: Path, umask: None) -> None:
    WRITERS[name](tmp_path / "deep" / "a.txt")
    assert stat.S_IMODE((tmp_path / "deep" / "a.txt").stat().st_mode) == 0o640
    assert only(tmp_path / "deep") == ["a.txt"]


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_a_replaced_file_keeps_its_rights(mode: int, tmp_path: Path, umask: None) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(mode)
    write_file(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", mode)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root may give files away")
def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    os.chown(path, 12345, 12346)
    write_file(path, "new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)


@pytest.mark.parametrize("there", [True, False], ids=["file", "dangling"])
@pytest.mark.parametrize("name", WHOLE)
def test_a_link_stays_and_its_file_is_written(name: str, there: bool, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target.json", tmp_path / "link.json"
    if there:
        target.write_text("old")
    link.symlink_to(Path("far") / "target.json")
    WRITERS[name](link)
    assert link.is_symlink()
    assert "new" in target.read_text()
    assert (only(tmp_path), only(tmp_path / "far")) == (["far", "link.json"], ["target.json"])


@pytest.mark.parametrize("name", [*WHOLE, "LineFile"])
def test_a_pipe_is_written_into(name: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    WRITERS[name](pipe)
    reader.join(30)
    assert b"new" in heard[0]
    assert pipe.is_fifo()
    assert only(tmp_path) == ["pipe.json"]


def test_a_pipe_without_a_reader_is_a_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    check_place(tmp_path / "pipe")


@pytest.mark.parametrize("to", ["a file", "a pipe"])
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_own_streams_are_written_into(name: str, to: str, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from sdk.files import check_place, write_file
check_place(Path({name!r}))
write_file(Path({name!r}), "xxxxx")
"""
    if to == "a pipe":
        said = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout
    else:
        with (tmp_path / "said").open("wb") as file:
            subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
        said = (tmp_path / "said").read_bytes()
    assert said == b"xxxxx"


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("x\0y", "NUL"),
        ("\udfff.csv", "no name of a file"),
        ("a" * 300, "File name too long"),
        ("file/below", "Not a directory|File exists"),
        ("loop", "Too many levels"),
        ("folder", "folder|Is a directory"),
    ],
)
def test_wrong_places(name: str, place: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    before = only(tmp_path)
    with pytest.raises(InputError, match=says):
        WRITERS[name](tmp_path / place)
    assert only(tmp_path) == before
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, ""), OSError(errno.EDQUOT, ""), OSError(errno.EFBIG, "")])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(error: OSError, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(OutputError, match="make room"):
        files.replace_file(path, lambda draft: half(draft, error))
    assert path.read_text() == "old"
    assert only(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("bug"), ModelError("typed")], ids=repr)
def test_other_errors_pass_and_leave_nothing(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        files.replace_file(tmp_path / "a.csv", lambda draft: half(draft, error))
    assert only(tmp_path) == []


def test_a_read_only_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
    with pytest.raises(InputError, match="Permission denied"):
        write_file(path, "new")
    assert (path.read_text(), only(tmp_path)) == ("old", ["a"])


def test_of_two_writers_the_last_one_wins_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with replacing(path) as first:
        with replacing(path) as second:
            second.write_text("second " * 1000)
        first.write_text("first")
    assert (path.read_text(), only(tmp_path)) == ("first", ["a"])


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from sdk.files import replacing
with replacing(Path("a.mp4")) as draft:
    draft.write_text("half")
    os.kill(os.getpid(), 9)
"""
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert len(only(tmp_path)) == 1
    (tmp_path / "other").write_text("kept")
    with replacing(tmp_path / "a.mp4") as first, replacing(tmp_path / "a.mp4") as second:
        assert first.read_text() == second.read_text() == ""
        assert len(only(tmp_path)) == 3
    assert only(tmp_path) == ["a.mp4", "other"]


def test_many_writers_to_one_name(tmp_path: Path) -> None:
    path, failed = tmp_path / "a", list[Exception]()

    def write(number: int) -> None:
        try:
            for _ in range(30):
                write_file(path, str(number) * 1000)
        except FiqaError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert path.read_text() in {str(number) * 1000 for number in range(8)}
    assert only(tmp_path) == ["a"]


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


@pytest.fixture
def places(tmp_path: Path) -> Path:
    (tmp_path / "photo.jpg").write_bytes(b"p")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.csv").symlink_to("photo.jpg")
    os.link(tmp_path / "photo.jpg", tmp_path / "hard.csv")
    return tmp_path


@pytest.mark.parametrize("name", ["photo.jpg", "sub/../photo.jpg", "link.csv", "hard.csv"])
def test_an_output_that_is_an_input(name: str, places: Path) -> None:
    with pytest.raises(InputError, match=r"--out .* is an input, .*photo\.jpg, and would be overwritten"):
        check_outputs({"--out": places / name, "--report": None}, [places / "none", places / "photo.jpg"])


@pytest.mark.parametrize("other", ["new.csv", "sub/../new.csv", "to-new.csv"])
def test_two_outputs_that_are_one_file(other: str, places: Path) -> None:
    (places / "to-new.csv").symlink_to("new.csv")
    with pytest.raises(InputError, match=r"--report .* is the file of --out .*, too"):
        check_outputs({"--out": places / "new.csv", "--report": places / other})


def test_outputs_that_are_fine(places: Path) -> None:
    null = Path(os.devnull)
    inputs = [places / "photo.jpg", Path("a\0b")]
    check_outputs({"--out": places / "new.csv", "--report": places / "new.html"}, inputs)
    check_outputs({"--out": null, "--report": null}, inputs)


@pytest.mark.parametrize("name", ["r.jpg", "r", "html", "r.htm.gz", ".html"])
def test_a_suffix_that_does_not_fit(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--report .* wanted one of: \.html, \.htm"):
        check_suffix("--report", tmp_path / name, (".html", ".htm"))


@pytest.mark.parametrize("path", ["r.html", "R.HTM", os.devnull, "/dev/stdout"])
def test_a_suffix_that_fits(path: str) -> None:
    check_suffix("--report", Path(path), (".html", ".htm"))


@pytest.mark.parametrize("home", ["none", "unwritable", "a file"])
def test_a_cache_that_cannot_be_used_is_no_cache(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(
        "FIQA_CACHE", {"none": "~nobody-at-all/x", "unwritable": "/proc/x"}.get(home, str(tmp_path / "file"))
    )
    assert cache.keep_in_cache(b"x", "a", "b") is None
    assert cache.find_in_cache("a", "b") is None


def test_what_is_kept_in_the_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "new"))
    assert cache.keep_in_cache(b"x", "a", "b.json") == tmp_path / "new" / "a" / "b.json"
    assert cache.find_in_cache("a", "b.json") == b"x"

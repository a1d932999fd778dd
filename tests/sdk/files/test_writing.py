"""Writing: whole or not at all, whatever is at the path."""

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
from sdk.errors import FiqaError, InputError, ModelError, OutputError
from sdk.files import (
    LineFile,
    check_place,
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
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write any file
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

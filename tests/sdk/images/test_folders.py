"""Images of folders: which are found, in what order, and what is reported as left out."""

import logging
import os
import socket
import sys
from pathlib import Path

import pytest

from sdk.errors import InputError
from sdk.images.folders import find_images, images_below
from sdk.images.natural_order import natural_key

HEIC = b"\0\0\0\x20ftypheix\0\0\0\0mif1"
JPEG = b"\xff\xd8\xff\xdb"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, without pillow-heif."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sdk.images.file_kinds.can_read_heif", lambda: False)


def make(*names: str, content: bytes = b"") -> None:
    """Make files and their folders."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)


def files(*names: str) -> list[str]:
    """Return the names that are found."""
    return [path.as_posix() for path in find_images(names).files]


def left_out(*names: str) -> dict[str, tuple[int, str]]:
    """Return number and first path of what is left out, by kind."""
    return {one.kind: (one.count, Path(one.first).as_posix()) for one in find_images(names).left_out}


def test_natural_order() -> None:
    names = ["x", "x1", "x01", "x2", "x10", "x10a9", "x10a10", "x99999999999999999999", "x100000000000000000000", "xa"]
    shuffled = names[5:] + names[:5]
    assert sorted(shuffled, key=natural_key) == names


def test_names_folders_and_patterns() -> None:
    make("a/10.png", "a/9.png", "a/b/1.JPG", "a/notes.txt", "c/2.webp", "a/x[1].png", "a/x1.png")
    below_a = ["a/9.png", "a/10.png", "a/b/1.JPG", "a/x1.png", "a/x[1].png"]
    assert files("a") == below_a
    assert files("a/10.png", "a") == ["a/10.png", *(name for name in below_a if name != "a/10.png")]
    assert files("a", "./a/9.png", "c", "a/../a") == [*below_a, "c/2.webp"]
    assert files("a/notes.txt", "a/notes.txt") == ["a/notes.txt"]
    assert files("a", "a/notes.txt") == [*below_a, "a/notes.txt"]
    assert files("a/x[1].png") == ["a/x[1].png"]
    assert files("a/x[0-9].png") == ["a/x1.png"]
    assert files("**/[129]*") == ["a/9.png", "a/10.png", "a/b/1.JPG", "c/2.webp"]
    assert files("**") == files(".") == [*below_a, "c/2.webp"]


def test_found_files_are_a_sequence_of_paths() -> None:
    make("a/1.png", "a/2.png", "a/3.png")
    found = find_images(["a"]).files
    assert len(found) == 3
    assert found[-1] == Path("a/3.png")
    assert list(found[:2]) == [Path("a/1.png"), Path("a/2.png")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "no such file"),
        ("*.gone", "no match"),
        ("**/*.gone", "no match"),
        ("empty", "no image in empty"),
        ("\0", "NUL"),
        ("\udfff", "surrogates"),
        ("", "no such file"),
        ("n" * 5000, "no such file"),
        ("n" * 300 + "*", "no such file"),
    ],
)
def test_refused(name: str, message: str) -> None:
    Path("empty").mkdir()
    make("other.png")
    with pytest.raises(InputError, match=message):
        find_images(["other.png", name] if name != "empty" else [name])


def test_formats_are_recognised_by_content() -> None:
    make("p/scan", "p/upload.bin", "p/named.heic", content=JPEG)
    make("p/story", "p/table.csv", content=b"some,words")
    make("p/a.JFIF", "p/b.jpe", "p/c.mpo", "p/d.dib", "p/e.gif")
    taken = ["p/a.JFIF", "p/b.jpe", "p/c.mpo", "p/d.dib", "p/e.gif", "p/named.heic", "p/scan", "p/upload.bin"]
    assert files("p") == taken
    assert left_out("p") == {}


def test_formats_that_cannot_be_opened_are_counted() -> None:
    make("p/1.jpg", "p/raw.NEF", content=b"II*\0" + bytes(300))
    make("p/2.HEIC", "p/3.heic", "p/unnamed", content=HEIC)
    make("p/5.avif", content=b"\0\0\0\x1cftypavif")
    make("p/6.jxl", "p/7.psd", content=b"whatever")
    assert left_out("p") == {
        ".heic": (2, "p/2.HEIC"),
        ".avif": (1, "p/5.avif"),
        ".jxl": (1, "p/6.jxl"),
        ".psd": (1, "p/7.psd"),
        ".nef": (1, "p/raw.NEF"),
        "HEIC": (1, "p/unnamed"),
    }
    advice = {one.kind: one.advice for one in find_images(["p"]).left_out}
    assert "pip install pillow-heif" in advice[".heic"]
    assert "pip install pillow-heif" in advice[".avif"]


def test_a_folder_of_nothing_that_can_be_opened_says_what_there_is() -> None:
    make("p/1.heic", "p/2.heic", content=HEIC)
    with pytest.raises(InputError, match=r"2 x \.heic \(p/1\.heic\); `pip install pillow-heif`"):
        find_images(["p"])


def test_heic_is_taken_where_it_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.images.file_kinds.can_read_heif", lambda: True)
    make("p/1.heic", "p/2.avif", "p/3", content=HEIC)
    assert files("p") == ["p/1.heic", "p/2.avif", "p/3"]


def test_drafts_and_double_files_are_no_images() -> None:
    make("p/1.png", "p/.fiqa-00ff.png", "p/._1.png")
    assert files("p") == ["p/1.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
class TestLinks:
    """Links are followed; each folder once."""

    def test_linked_folders_are_searched_once(self) -> None:
        make("p/1.png", "far/2.png", "far/deep/3.png")
        os.symlink("../far/deep", "p/a")
        os.symlink("../far", "p/b")
        assert files("p") == ["p/1.png", "p/a/3.png", "p/b/2.png"]
        assert files("p", "far") == files("p")

    def test_circles_end(self) -> None:
        make("p/q/1.png")
        for name in ("x", "y", "z"):
            os.symlink("..", f"p/q/{name}")
        os.symlink("round", "p/round")
        assert files("p") == files("p/**/*.png") == ["p/q/1.png"]
        found = left_out("p")
        assert found["a link to a folder that is searched anyway"] == (3, "p/q/x")
        assert found["a link that leads in a circle"] == (1, "p/round")

    def test_broken_links_are_named(self) -> None:
        make("p/1.png")
        os.symlink("gone.png", "p/0.png")
        assert files("p") == files("p/*.png") == ["p/1.png"]
        assert left_out("p") == left_out("p/*.png") == {"a broken link": (1, "p/0.png")}

    def test_each_name_of_a_file_counts_once(self) -> None:
        make("p/1.png", "far/2.png")
        os.symlink("1.png", "p/0.png")
        os.symlink("../far/2.png", "p/3.png")
        assert files("p", "far") == ["p/0.png", "p/1.png", "p/3.png", "far/2.png"]
        assert files("p/0.png", "p", "p/../p/0.png") == ["p/0.png", "p/1.png", "p/3.png"]
        assert images_below(Path("p")) == [Path("p/0.png"), Path("p/1.png"), Path("p/3.png")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_sockets_are_named_and_not_opened() -> None:
    make("p/1.png")
    os.mkfifo("p/2.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("p/3.png")
        assert files("p") == ["p/1.png"]
        assert left_out("p") == {"a pipe": (1, "p/2.png"), "a socket": (1, "p/3.png")}


def test_what_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    make("p/1.png", "p/closed/2.png", "p/secret")
    scandir, open_file = os.scandir, os.open

    def refuse(path: str, *arguments: int) -> object:
        if Path(path).name in ("closed", "secret"):
            raise PermissionError(13, "Permission denied")
        return open_file(path, *arguments) if arguments else scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "open", refuse)
    found = find_images(["p"])
    assert list(found.files) == [Path("p/1.png")]
    assert [(one.kind, one.first, one.unreadable) for one in found.left_out] == [
        ("a folder that cannot be entered", "p/closed", True),
        ("a file that cannot be read", "p/secret", True),
    ]


def test_images_below_warns_of_what_it_left_out(caplog: pytest.LogCaptureFixture) -> None:
    make("p/10.png", "p/9.png")
    make("p/a.heic", content=HEIC)
    with caplog.at_level(logging.WARNING):
        assert images_below(Path("p")) == [Path("p/9.png"), Path("p/10.png")]
    assert "1 x .heic (p/a.heic)" in caplog.text

"""Files appear in a folder complete and all together, or not at all."""

import os
from pathlib import Path

import pytest

from sdk import InputError
from sdk.files.folder_draft import folder_draft
from sdk.files.writing import move_file


def test_files_appear_when_all_are_there(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with folder_draft(out) as draft:
        (draft / "a.txt").write_text("a")
        (draft / "cache").mkdir()
        assert draft.parent == out
        assert not (out / "a.txt").exists()
    assert [file.name for file in out.iterdir()] == ["a.txt"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ZeroDivisionError), folder_draft(tmp_path, ".draft") as draft:  # noqa: PT012
        (draft / "a.txt").write_text("new")
        raise ZeroDivisionError
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_file_that_cannot_be_replaced_keeps_all_others(tmp_path: Path) -> None:
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(InputError, match=r"b\.txt is a folder"), folder_draft(tmp_path) as draft:  # noqa: PT012
        (draft / "a.txt").write_text("new")
        (draft / "b.txt").write_text("new")
    assert [file.name for file in tmp_path.iterdir()] == ["b.txt"]


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".draft").mkdir()
    (tmp_path / ".draft" / "half").touch()
    with folder_draft(tmp_path, ".draft") as draft:
        (draft / "a").touch()
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["file", "file/below", "a\0b", "n" * 300])
def test_places_that_are_no_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(InputError), folder_draft(tmp_path / name):
        pass
    assert (tmp_path / "file").read_text() == "here"


def test_a_move_keeps_links_and_rights(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "draft").write_text("new")
    move_file(tmp_path / "draft", tmp_path / "link")
    assert os.readlink(tmp_path / "link") == "real"
    assert ((tmp_path / "real").read_text(), (tmp_path / "real").stat().st_mode & 0o777) == ("new", 0o640)

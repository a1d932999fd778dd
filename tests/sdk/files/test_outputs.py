"""Outputs are checked before the work: no output is an input, or another output."""

import os
from pathlib import Path

import pytest

from sdk.errors import InputError
from sdk.files import check_outputs, check_suffix


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

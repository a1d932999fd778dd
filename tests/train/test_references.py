"""Code of a user's own by `module:name`: where it is found, and what is said where it is not."""

import sys
from pathlib import Path

import pytest

from sdk.errors import InputError
from train.references import resolve


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_found.py").write_text("class Mine:\n    pass\n\nANSWER = 42\n")
    (tmp_path / "own_broken.py").write_text("1 / 0\n")
    (tmp_path / "own_lacking.py").write_text("import no_such_package\n")
    return tmp_path


def test_the_current_folder_and_packages_are_searched(folder: Path) -> None:
    assert resolve("own_found:ANSWER") == 42
    assert resolve("pathlib:Path") is Path
    assert sys.path[-1] == str(folder)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("own_found", "wanted module:name"),
        (":name", "wanted module:name"),
        ("own_absent:Mine", r"there is no module 'own_absent', neither installed nor in .*start in its folder"),
        ("own_found.inner:Mine", r"there is no module 'own_found\.inner'"),
        ("own_found:Yours", r"own_found\.py has no 'Yours', only Mine, ANSWER; name one of these"),
        ("own_broken:Mine", "importing own_broken failed: ZeroDivisionError: division by zero; correct the module"),
        ("own_lacking:Mine", "importing own_lacking failed: No module named 'no_such_package'; install what it needs"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_is_not_found(reference: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(reference)

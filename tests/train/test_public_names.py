"""The public names of `train`: they are there, documented, and imported when they are used."""

import inspect
import subprocess
import sys

import pytest

import train


@pytest.mark.parametrize("name", train.__all__)
def test_each_name_is_there(name: str) -> None:
    found = getattr(train, name)
    assert not inspect.isclass(found) or found.__name__ == name
    assert name == "DEGRADATIONS" or inspect.getdoc(found)


def test_the_list_is_complete() -> None:
    names = [name for names in train._MODULES.values() for name in names]
    assert sorted(names) == sorted(train.__all__) == sorted(dir(train))
    with pytest.raises(AttributeError, match="module 'train' has no attribute 'absent'"):
        train.absent  # noqa: B018


def test_import_is_light() -> None:
    code = "import sys, train; print(*({'numpy', 'torch', 'pyarrow', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

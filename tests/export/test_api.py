"""The public names of `export`: they are imported when they are used."""

import subprocess
import sys

import pytest

import export


def test_names() -> None:
    assert sorted(export.__all__) == export.__all__ == dir(export)
    for name in export.__all__:
        assert getattr(export, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        getattr(export, "other")  # noqa: B009 - a name that mypy does not know


def test_import_is_light() -> None:
    code = "import sys, export; from export import ExportSettings; print(*{'torch', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

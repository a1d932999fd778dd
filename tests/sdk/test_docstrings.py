"""The examples in public docstrings run, and public objects print as these show."""

import doctest
import importlib

import pytest

MODULES = {
    "sdk.alignment": 1, "sdk.detection.face_detector": 1, "sdk.images.decoding": 1, "sdk.models.card": 1,
    "sdk.scorer": 1,
}  # fmt: skip
"""Modules with examples, and the least number of docstrings that have some."""


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    tests = [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]
    assert len(tests) >= MODULES[name]
    for test in tests:
        lines: list[str] = []
        result = doctest.DocTestRunner().run(test, out=lines.append)
        assert result.failed == 0, "".join(lines)

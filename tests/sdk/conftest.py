"""Fixtures that the SDK's tests share."""

import os
from pathlib import Path

import onnx
import pytest

from sdk.models.catalog import find_entry
from tests.support.tiny_models import tiny_card, tiny_model

MODELS = os.environ.get("FIQA_MODELS")


@pytest.fixture(autouse=True)
def own_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep tests off the user's models and off the network; return the cache folder, which does not exist yet."""
    for name in ("FIQA_MODELS", "FIQA_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FIQA_OFFLINE", "1")
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tiny_path(tmp_path: Path) -> Path:
    """Return an ONNX file with its card: uint8 BGR NHWC, any batch, four PReLU nodes."""
    path = tmp_path / "tiny.onnx"
    onnx.save(tiny_model(tiny_card()), path)
    return path


@pytest.fixture
def yunet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the published detector available, or skip."""
    files = [find_entry(name).file for name in ("yunet", "yunet-2026may")]
    if MODELS is None or not any((Path(MODELS) / file).is_file() for file in files):
        pytest.skip(f"needs {' or '.join(files)} in FIQA_MODELS")
    monkeypatch.setenv("FIQA_MODELS", MODELS)

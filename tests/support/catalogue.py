"""A catalogue for tests, with models of a few bytes."""

import hashlib

import pytest

from sdk.models.card import ModelCard
from sdk.models.catalog import CatalogEntry

CONTENT = b"a model's bytes" * 1000


def entry(urls: tuple[str, ...], content: bytes = CONTENT, name: str = "small") -> CatalogEntry:
    """Return a catalogue entry for a file with this content."""
    digest = hashlib.sha256(content).hexdigest()
    return CatalogEntry(ModelCard(name=name), f"{name}.onnx", digest, len(content), urls)


def publish(monkeypatch: pytest.MonkeyPatch, *entries: CatalogEntry) -> None:
    """Replace the catalogue by these entries."""
    table = {one.card.name: one for one in entries}
    monkeypatch.setattr("sdk.models.catalog.catalog", lambda: table)

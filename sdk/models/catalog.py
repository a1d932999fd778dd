"""The catalogue: all models that fiqa knows by name. A new model is a new table in `catalog.toml`."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from sdk.errors import ModelError
from sdk.models.card import ModelCard

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model of the catalogue.

    Attributes:
        card: The model's card. A card inside the file has precedence.
        file: Name of the file.
        sha256: SHA-256 of the file, lower-case hexadecimal.
        size: Bytes of the file; None if the publisher does not give it.
        urls: Addresses of the file, best first. Empty for a file that comes with the package.
        alternatives: Names of entries with the same network in another export. One of them is used if its file is on
            this machine and this file is not.
        ship: May the model be shipped in a product? `yes`, `no` or `ask`.
        ship_reason: Reason for that answer.
    """

    card: ModelCard
    file: str
    sha256: str
    size: int | None = None
    urls: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    ship: str = "ask"
    ship_reason: str = "Nobody has looked into its licence yet."

    @property
    def embedded(self) -> Path | None:
        """Path of the file in the package; None if it must be downloaded."""
        return None if self.urls else Path(__file__).with_name(self.file)


@cache
def catalog() -> Mapping[str, CatalogEntry]:
    """Return all entries by name, in the order of `catalog.toml`."""
    tables = tomllib.loads(Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8"))
    return MappingProxyType({name: _entry(name, table) for name, table in tables.items()})


def find_entry(name: str) -> CatalogEntry:
    """Return the entry of a model.

    Raises:
        ModelError: The catalogue has no such name. The message suggests the closest one.
    """
    try:
        return catalog()[name]
    except KeyError:
        import difflib

        near = difflib.get_close_matches(name, catalog(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ModelError(
            f"unknown model {name!r}, wanted one of: {', '.join(catalog())}, or the path of an .onnx file{hint}"
        ) from None


def _entry(name: str, table: Mapping[str, object]) -> CatalogEntry:
    values = dict(table)
    card = ModelCard.from_dict({"name": name, **values.pop("card")})  # type: ignore[dict-item]
    for key in ("urls", "alternatives"):
        values[key] = tuple(values.get(key, ()))  # type: ignore[arg-type]
    return CatalogEntry(card=card, **values)  # type: ignore[arg-type]

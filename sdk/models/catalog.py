"""The catalogue: every model that fiqa knows by name. A new model is a new table in `catalog.toml`."""

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
        card: Its card; a file that carries a card of its own knows better.
        file: Name of the file.
        sha256: SHA-256 of the file, lower-case hexadecimal.
        size: Bytes of the file; None where the publisher does not say.
        urls: Where the file is published, best first. Empty for a file that comes with the package.
        alternatives: Names of entries that hold the same network, exported otherwise. One of them is taken when it is
            at hand and this file is not.
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
        """Where the package has the file, or None if it must be fetched."""
        return None if self.urls else Path(__file__).with_name(self.file)


@cache
def catalog() -> Mapping[str, CatalogEntry]:
    """All entries by name, in the order of `catalog.toml`."""
    tables = tomllib.loads(Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8"))
    return MappingProxyType({name: _entry(name, table) for name, table in tables.items()})


def find_entry(name: str) -> CatalogEntry:
    """Look a model up.

    Raises:
        ModelError: The catalogue has no such name.
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

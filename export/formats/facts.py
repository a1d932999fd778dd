"""Rows that the inspectors of all formats share."""

from collections import Counter
from collections.abc import Mapping

from export.formats.table import Facts
from sdk.models.card import ModelCard


def card_facts(card: ModelCard) -> Facts:
    """Return the rows that a card gives."""
    return {
        "model": f"{card.name} ({card.variant})" if card.variant not in ("", card.name) else card.name,
        "format": card.format,
        "precision": card.precision,
        "proven": "yes" if card.proven else "no; run fiqa verify on its device",
        "verification": ", ".join(f"{name} {value:g}" for name, value in card.verification.items()) or "none",
        "licence": card.licence,
        "source": f"{card.source}, SHA-256 {card.source_sha256[:12] or 'unknown'}",
    }


def counted(counts: Mapping[str, int]) -> str:
    """Return counts in words, the largest first: `40 int8, 3 fp32`."""
    return ", ".join(f"{count} {name}" for name, count in Counter(counts).most_common()) or "unknown"

"""Folders of images."""

import re

from sdk.batch import IMAGE_SUFFIXES

__all__ = ["IMAGE_SUFFIXES", "natural_key"]


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return what sorts names as people count: frame2 before frame10."""
    parts = re.split(r"([0-9]+)", text)
    return [(1, int(part), part) if index % 2 else (0, 0, part) for index, part in enumerate(parts)]

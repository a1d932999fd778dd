"""Scores how useful a face image is for recognising the person. These are the public names of `sdk`.

from fiqa import QualityScorer

with QualityScorer() as scorer:
    for face in scorer.assess("photo.jpg"):
        print(face.box, face.score)
"""

from typing import TYPE_CHECKING

import sdk

if TYPE_CHECKING:
    from sdk import *  # noqa: F403

__all__ = sdk.__all__


def __getattr__(name: str) -> object:
    if name in sdk.__all__:
        return getattr(sdk, name)
    raise AttributeError(f"module 'fiqa' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sdk.__all__

"""Images that carry another person's name.

LFW has a few, and its own list of errata names them. No quality measure can foresee that such a comparison fails, yet
one of them is in many mated pairs of its wrong name. They are found by face recognition alone, so that no quality
measure is favoured, and with a wide margin, so that a poor image is not taken for a wrong name.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.decision.vectors import unit
from train.data.embeddings import class_sums

SIMILARITY = 0.5
"""Least cosine similarity to the other person's centre; well above the threshold of FMR 1e-4."""

MARGIN = 0.2
"""By how much it must exceed the similarity to the centre of its own name's other images."""


def find_mislabelled(
    embeddings: NDArray[np.floating[Any]], identities: Sequence[str] | NDArray[np.str_]
) -> NDArray[np.bool_]:
    """Find images that are clearly of another person in the set.

    Args:
        embeddings: (N, D) of undamaged images, not normalised.
        identities: (N,) names they carry.

    Returns:
        (N,) True for images whose similarity to another name's centre is at least `SIMILARITY` and exceeds the one to
        the rest of their own name by `MARGIN`. A name's only image is never taken for mislabelled.
    """
    names, codes = np.unique(np.asarray(identities), return_inverse=True)
    counts = np.bincount(codes)
    raw = np.asarray(embeddings, np.float64)
    sums = class_sums(raw, codes, len(names))
    rows = unit(raw)
    own = np.einsum("nd,nd->n", rows, unit(sums[codes] - raw))
    centres = unit(sums)
    result = np.zeros(len(raw), bool)
    for start in range(0, len(raw), 4096):
        block = slice(start, start + 4096)
        similarity = rows[block] @ centres.T
        similarity[np.arange(len(similarity)), codes[block]] = -1
        best = similarity.max(axis=1)
        result[block] = (best >= SIMILARITY) & (best - own[block] >= MARGIN)
    return result & (counts[codes] > 1)

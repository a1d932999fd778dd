"""Mated and non-mated comparisons of a set of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Pairs of images: indices `a` and `b` (M,), cosine `similarity` float32 (M,), and `identity` of `a` (M,)."""

    a: Indices
    b: Indices
    similarity: NDArray[np.float32]
    identity: Indices


def mated_comparisons(
    identities: Sequence[str] | NDArray[np.str_], embeddings: NDArray[np.floating[Any]], limit: int = 200, seed: int = 0
) -> Comparisons:
    """All pairs of images of one person.

    Args:
        identities: Person of each image.
        embeddings: (N, D).
        limit: Pairs kept of one person, drawn at random, so that a few people do not decide everything.
        seed: Of that draw.

    Raises:
        InputError: Nobody has two images.
    """
    codes = np.unique(np.asarray(identities), return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    firsts, seconds = [], []
    by_person = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    for members in by_person:
        first, second = np.triu_indices(len(members), 1)
        if len(first) > limit:
            kept = rng.choice(len(first), limit, replace=False)
            first, second = first[kept], second[kept]
        firsts.append(members[first])
        seconds.append(members[second])
    a, b = np.concatenate(firsts), np.concatenate(seconds)
    if len(a) == 0:
        raise InputError("nobody has two images, so there is no mated comparison; give images of the same people")
    return _compared(a, b, embeddings, codes)


def non_mated_comparisons(
    identities: Sequence[str] | NDArray[np.str_],
    embeddings: NDArray[np.floating[Any]],
    count: int = 2_000_000,
    seed: int = 0,
) -> Comparisons:
    """Random pairs of images of different people, about `count`; a pair may be drawn twice.

    Raises:
        InputError: All images are of one person.
    """
    codes = np.unique(np.asarray(identities), return_inverse=True)[1]
    a, b = np.random.default_rng(seed).integers(0, len(codes), (2, count))
    different = codes[a] != codes[b]
    if not different.any():
        raise InputError("all images are of one person, so there is no non-mated comparison; add other people")
    return _compared(a[different], b[different], embeddings, codes)


def unit(embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rows of unit length, float32."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.maximum(lengths, 1e-12)).astype(np.float32)


def cosines(a: Indices, b: Indices, embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Cosine similarities of pairs, in blocks that stay in the processor's cache."""
    rows = unit(embeddings)
    result = np.empty(len(a), np.float32)
    size = max(64, (1 << 19) // rows.shape[1])
    for start in range(0, len(a), size):
        block = slice(start, start + size)
        np.einsum("nd,nd->n", rows[a[block]], rows[b[block]], out=result[block])
    return result


def _compared(a: Indices, b: Indices, embeddings: NDArray[np.floating[Any]], codes: Indices) -> Comparisons:
    return Comparisons(a, b, cosines(a, b, embeddings), codes[a])

"""Pairs of images to compare."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdk.decision.vectors import Indices
from sdk.errors import InputError

MOST_NON_MATED = 2_000_000
"""Most non-mated pairs, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of indices of images: `mated` (M, 2) of one person each, `non_mated` (K, 2) of two people each."""

    mated: Indices
    non_mated: Indices

    def __post_init__(self) -> None:
        for kind in ("mated", "non-mated"):
            if len(getattr(self, kind.replace("-", "_"))) == 0:
                raise InputError(f"there is no {kind} comparison, wanted both kinds; see docs/evaluation.md, Protocols")


Sides = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Which images (N,) are compared, and with which (N,). The two may overlap, or be the same."""


def mated_pairs(
    identities: Sequence[str] | NDArray[np.str_], limit: int = 200, seed: int = 0, sides: Sides | None = None
) -> Indices:
    """Return all pairs of images of one person.

    Args:
        identities: (N,) person of each image.
        limit: Most pairs of one person, drawn at random, so that a few people do not decide the result.
        seed: Seed of that draw.
        sides: Where given, only pairs of an image of the first side and one of the second.

    Returns:
        (M, 2), each pair once.

    Raises:
        InputError: Nobody has two such images.
    """
    codes = np.unique(np.asarray(identities), return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    pairs = []
    for members in np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1]):
        found = members[np.stack(np.triu_indices(len(members), 1), axis=1)]
        if sides is not None:
            (a, b), (first, second) = found.T, sides
            found = found[(first[a] & second[b]) | (first[b] & second[a])]
        if len(found) > limit:
            found = found[rng.choice(len(found), limit, replace=False)]
        pairs.append(found)
    result = np.concatenate(pairs)
    if len(result) == 0:
        raise InputError("nobody has two images, so there is no mated comparison; give images of the same people")
    return result


def non_mated_pairs(
    identities: Sequence[str] | NDArray[np.str_], count: int = MOST_NON_MATED, seed: int = 0, sides: Sides | None = None
) -> Indices:
    """Return pairs of images of different people: all of them, or random ones where there are more than `count`.

    Random pairs are `count` draws, less those in which both images are of one person. A pair may be drawn twice.

    Args:
        identities: (N,) person of each image.
        count: See above.
        seed: Seed of the draws.
        sides: See `mated_pairs`.

    Returns:
        (K, 2).

    Raises:
        InputError: All images are of one person.
    """
    codes = np.unique(np.asarray(identities), return_inverse=True)[1]
    first, second = sides or (np.ones(len(codes), bool),) * 2
    both = first & second
    a, b = np.flatnonzero(first), np.flatnonzero(second)
    # Two images that are both on both sides are one pair, not two; an image is no pair with itself.
    if len(a) * len(b) - both.sum() * (both.sum() + 1) // 2 <= count:
        pairs = np.stack([np.repeat(a, len(b)), np.tile(b, len(a))], axis=1)
        pairs = pairs[~both[pairs].all(axis=1) | (pairs[:, 0] < pairs[:, 1])]
    else:
        rng = np.random.default_rng(seed)
        pairs = np.stack([side[rng.integers(0, len(side), count)] for side in (a, b)], axis=1)
    pairs = pairs[codes[pairs[:, 0]] != codes[pairs[:, 1]]]
    if len(pairs) == 0:
        raise InputError("all images are of one person, so there is no non-mated comparison; add other people")
    return pairs

"""Statistics of scores by group of people: means, shares turned away, gaps between groups, and how sure they are."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

RATE = 0.2
"""Share of all pictures that a threshold turns away, where none is given."""

DRAWS = 2000
"""Draws of the bootstrap, and of random groups."""

Floats = NDArray[np.float64]
Measure = Callable[["Groups", Floats], Floats]
"""Takes groups and the weight of each person (P,), returns a value a group (G,)."""

Row = TypeVar("Row", bound=Mapping[str, str])


@dataclass(frozen=True, slots=True)
class Groups:
    """People and the groups that they are in.

    Attributes:
        names: (G,) group names; the first group is everybody.
        kinds: (G,) column that gives each group, such as `face_eth`; "" of everybody.
        members: bool (G, P): who is in which group.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    members: NDArray[np.bool_]

    def gap(self, values: Floats, kind: str) -> float:
        """Return the largest difference between values (G,) of the groups of a kind."""
        of_kind = values[[each == kind for each in self.kinds]]
        return float(of_kind.max() - of_kind.min())


def make_groups(rows: Sequence[Mapping[str, str]], kinds: Sequence[str]) -> Groups:
    """Make a group of everybody, and one of each value of a column that at least two people have."""
    named = [
        (kind, value)
        for kind in kinds
        for value, count in sorted(Counter(row[kind] for row in rows).items())
        if value and count > 1
    ]
    members = np.array([[True] * len(rows), *([row[kind] == value for row in rows] for kind, value in named)])
    return Groups(("everybody", *(value for _, value in named)), ("", *(kind for kind, _ in named)), members)


def half(rows: Sequence[Row], kinds: Sequence[str], key: str, first: bool) -> list[Row]:
    """Return half of the people: the first half or the second.

    Each combination of groups is halved, in the order of the SHA-256 of the people's keys. So the halves are always the
    same, and do not follow the order of the table.
    """

    def order(row: Row) -> tuple[str, ...]:
        return (*(row[kind] for kind in kinds), hashlib.sha256(row[key].encode()).hexdigest())

    return sorted(rows, key=order)[0 if first else 1 :: 2]


def turned_away(scores: Floats, weights: Floats, rate: float = RATE) -> NDArray[np.bool_]:
    """Return which pictures a threshold turns away: the lowest scores, as many as weigh at most `rate` of all.

    Pictures with the same score are turned away together or not at all.

    Args:
        scores: (N,).
        weights: (N,), not negative.
        rate: In [0, 1].
    """
    values, where = np.unique(scores, return_inverse=True)
    up_to = np.cumsum(np.bincount(where, weights, len(values))) / weights.sum()
    return np.asarray((up_to <= rate + 1e-9)[where])


def means(values: Floats, owners: NDArray[np.int64]) -> Measure:
    """Measure the mean of values (N,) over the pictures of each group; `owners` (N,) is the person of each picture."""

    def measure(groups: Groups, weights: Floats) -> Floats:
        members = (groups.members * weights)[:, owners]
        return np.asarray(members @ values / members.sum(axis=1))

    return measure


def shares_turned_away(scores: Floats, owners: NDArray[np.int64], balance: str | None = None) -> Measure:
    """Measure the share of the pictures of each group that is turned away, see `turned_away`.

    Args:
        scores: (N,).
        owners: (N,) person of each picture.
        balance: A kind of groups that weigh the same when the threshold is found; people in none of them weigh nothing
            there. None for people who weigh the same.
    """

    def measure(groups: Groups, weights: Floats) -> Floats:
        of_all = weights
        if balance:
            balanced = (groups.members * weights)[[kind == balance for kind in groups.kinds]]
            of_all = (balanced / balanced.sum(axis=1, keepdims=True)).sum(axis=0)
        away = turned_away(scores, of_all[owners])
        return means(away.astype(np.float64), owners)(groups, weights)

    return measure


@dataclass(frozen=True, slots=True)
class Result:
    """What a measure finds.

    Attributes:
        values: (G,) of each group.
        intervals: (G, 2): 95 % intervals.
        gaps: The largest difference between groups, by kind.
    """

    values: Floats
    intervals: Floats
    gaps: dict[str, "Gap"]


@dataclass(frozen=True, slots=True)
class Gap:
    """The largest difference between groups.

    Attributes:
        value: The difference.
        low: Lower end of its 95 % interval. It is above 0 even where groups are alike, for a gap is never negative.
        high: Upper end.
        chance: 95 % of random groups of the same sizes have a smaller gap.
    """

    value: float
    low: float
    high: float
    chance: float


def exact_interval(share: float, people: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share that is 0 or 1 for all people (Clopper and Pearson, 1934).

    A bootstrap gives an interval of no width there, as if few people could show that something never happens.
    """
    room = 1 - 0.025 ** (1 / people)
    return (0.0, room) if share == 0 else (1 - room, 1.0)


def with_exact_intervals(result: Result, groups: Groups) -> Result:
    """Return shares with exact intervals where a group has none or all; see `exact_interval`."""
    intervals = result.intervals.copy()
    for group, share in enumerate(result.values):
        if share in (0, 1):
            intervals[group] = exact_interval(float(share), int(groups.members[group].sum()))
    return replace(result, intervals=intervals)


def measure_groups(
    measure: Measure, groups: Groups, strata: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> Result:
    """Measure all groups, with intervals by a bootstrap over people.

    Args:
        measure: See `Measure`.
        groups: The groups.
        strata: (P,) stratum of each person. Each draw of the bootstrap has as many people of a stratum as there are.
        draws: Draws of the bootstrap, and of random groups.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    count, codes = groups.members.shape[1], np.unique(strata, return_inverse=True)[1]
    parts = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    everyone = np.ones(count)
    values, drawn, random = measure(groups, everyone), [], []
    for _ in range(draws):
        chosen = np.concatenate([rng.choice(part, len(part)) for part in parts])
        drawn.append(measure(groups, np.bincount(chosen, minlength=count).astype(np.float64)))
        shuffled = Groups(groups.names, groups.kinds, groups.members[:, rng.permutation(count)])
        random.append(measure(shuffled, everyone))
    gaps = {}
    for kind in dict.fromkeys(groups.kinds[1:]):
        low, high = np.quantile([groups.gap(each, kind) for each in drawn], (0.025, 0.975))
        chance = np.quantile([groups.gap(each, kind) for each in random], 0.95)
        gaps[kind] = Gap(groups.gap(values, kind), float(low), float(high), float(chance))
    return Result(values, np.quantile(drawn, (0.025, 0.975), axis=0).T, gaps)

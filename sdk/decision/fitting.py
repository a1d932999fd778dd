"""Fit a calibration: from scores and decided comparisons to a curve and thresholds. Needs SciPy (extra `calibrate`)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.decision.calibration import MOST_KNOTS, POINTS, Threshold
from sdk.errors import InputError

Floats = NDArray[np.floating[Any]]

LEAST_PER_KNOT = 20
"""Fewest comparisons of a point of the curve."""

LEAST_ERRORS = 10
"""Fewest failed comparisons of a curve, and fewest that the target of a threshold allows."""

SURE = 0.95
"""Confidence of the upper bound on the share of people with a failure."""

WIDEST = 0.2
"""Widest 95 % interval of a threshold that counts as decided, as a share of the comparisons that it turns away."""

DRAWS = 1000
"""Draws of people for an interval."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Mated comparisons, and how they ended.

    Attributes:
        score: float (M,): the lower score of the two faces.
        matched: bool (M,): the judge took them for one person.
        person: int (M,): whose comparison it is, 0 .. P - 1, each of them at least once.
    """

    score: Floats
    matched: NDArray[np.bool_]
    person: NDArray[np.int64]

    @property
    def people(self) -> int:
        """Number of people."""
        return int(self.person.max()) + 1

    def __getitem__(self, wanted: NDArray[np.bool_]) -> "Outcomes":
        """Return some of the comparisons."""
        person = np.unique(self.person[wanted], return_inverse=True)[1]
        return Outcomes(self.score[wanted], self.matched[wanted], person)

    @property
    def errors(self) -> int:
        """Number of comparisons that failed."""
        return int((~self.matched).sum())


def fit_curve(outcomes: Outcomes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scores and match rates of the curve: monotone (isotonic) regression, each person weighing the same.

    The comparisons are first put into at most `MOST_KNOTS` groups of equal weight along the score. A point of the curve
    is a group's mean score, with the match rate that the regression gives it.

    Raises:
        InputError: All scores are equal.
    """
    from scipy.optimize import isotonic_regression

    if outcomes.score.min() == outcomes.score.max():
        raise InputError(f"all {len(outcomes.score)} comparisons have the score {outcomes.score[0]:g}, so no curve")
    order = np.argsort(outcomes.score, kind="stable")
    score, matched = outcomes.score[order].astype(np.float64), outcomes.matched[order]
    weight = (1 / np.bincount(outcomes.person))[outcomes.person[order]]
    groups = min(MOST_KNOTS, max(2, len(score) // LEAST_PER_KNOT))
    place = np.floor(groups * (np.cumsum(weight) - weight / 2) / weight.sum()).astype(np.int64)
    first = np.unique(score, return_index=True, return_inverse=True)
    group = np.unique(place[first[1]][first[2]], return_inverse=True)[1]  # equal scores stay together
    total = np.bincount(group, weight)
    scores, rates = np.bincount(group, weight * score) / total, np.bincount(group, weight * matched) / total
    fitted = np.clip(isotonic_regression(rates, weights=total).x, 0, 1)
    return tuple(scores.tolist()), tuple(np.maximum.accumulate(fitted).tolist())


def curve_undecided(outcomes: Outcomes) -> str:
    """Return why the comparisons give no curve: too few fail; empty where they give one."""
    if (errors := outcomes.errors) >= LEAST_ERRORS:
        return ""
    people = f", or about {math.ceil(outcomes.people * LEAST_ERRORS / errors)} people" if errors else ""
    return (
        f"quality: a curve cannot be told: {errors} of {len(outcomes.score)} comparisons fail, wanted {LEAST_ERRORS} "
        f"or more; add worse pictures of these people{people}"
    )


def calibration_error(rates: Floats, outcomes: Outcomes, bins: int = 10) -> float:
    """Return the expected calibration error: the mean, over bins of equally many comparisons, of |promised - real|.

    Args:
        rates: (M,) match rates that a calibration gives the comparisons.
        outcomes: How they ended.
        bins: Number of bins.
    """
    promised, real, count = reliability(rates, outcomes, bins).T
    return float(np.average(np.abs(promised - real), weights=count))


def reliability(rates: Floats, outcomes: Outcomes, bins: int = 10) -> NDArray[np.float64]:
    """Return the reliability diagram (bins, 3): mean promised rate, real match rate, number of comparisons."""
    parts = np.array_split(np.argsort(rates, kind="stable"), min(bins, len(rates)))
    return np.array([(rates[part].mean(), outcomes.matched[part].mean(), len(part)) for part in parts])


def fit_threshold(outcomes: Outcomes, faces: Floats, name: str, target: float, seed: int = 0) -> Threshold | str:
    """Return the lowest score from which on at most a share of the comparisons fail, or why it cannot be told.

    Args:
        outcomes: Mated comparisons.
        faces: (N,) scores of all faces, for the share that is turned away.
        name: See `Threshold`.
        target: Highest false-non-match rate among comparisons whose both faces are accepted.
        seed: Of the draws of people for the interval.
    """
    order = np.argsort(-outcomes.score, kind="stable")
    score, failed, person = outcomes.score[order], ~outcomes.matched[order], outcomes.person[order]
    ends = np.flatnonzero(np.r_[score[1:] != score[:-1], True])  # of comparisons that have equal scores
    people, what = outcomes.people, f"{name}: a threshold for an FNMR of {target:g}"
    if (found := _lowest(score, failed, np.ones(len(score)), ends, target)) is None:
        return f"{what} does not exist: from every score on, more of the comparisons fail"
    if why := _too_few(outcomes[outcomes.score >= found], target, people):
        return f"{what} cannot be told: {why}"
    rng = np.random.default_rng(seed)
    drawn = [
        _lowest(score, failed, np.bincount(rng.integers(0, people, people), minlength=people)[person], ends, target)
        for _ in range(DRAWS)
    ]
    values = np.array([math.inf if value is None else value for value in drawn])
    low, high = np.quantile(values, (0.025, 0.975), method="nearest").tolist()
    away = [float((outcomes.score < value).mean()) for value in (low, found, high)]
    if not math.isfinite(high) or away[2] - away[0] > WIDEST:
        width = 1.0 if not math.isfinite(high) else away[2] - away[0]
        needed = math.ceil(people * (width / WIDEST) ** 2)
        upper = f"{high:.3f}" if math.isfinite(high) else "none at all"
        return (
            f"{what} lies anywhere from {low:.3f} to {upper}, which turns away {away[0]:.0%} to {away[2]:.0%} of "
            f"the comparisons; about {needed} people are needed"
        )
    low, high = min(low, found), max(high, found)
    return Threshold(name, "fnmr", target, found, low, high, float((faces < found).mean()), away[1])


def _too_few(accepted: Outcomes, target: float, people: int) -> str:
    """Return why accepted comparisons cannot show that at most a share `target` fails; empty where they can.

    They can where the target allows `LEAST_ERRORS` of them and one of their people to fail: then the draws of people
    say how sure it is. Below that they can where an exact bound says so, the people being the unit. Both hold all the
    more the fewer comparisons fail.

    Args:
        accepted: The comparisons.
        target: See `fit_threshold`.
        people: Number of people of all comparisons.
    """
    from scipy.special import gammaincinv

    among, count = accepted.people, len(accepted.score)
    failing = len(np.unique(accepted.person[~accepted.matched]))
    most = float(gammaincinv(failing + 1, SURE))  # Poisson: so many people with a failure may be expected at most
    by_draws = max(1 / target, among * LEAST_ERRORS / (target * count))  # people, with as many comparisons each
    if among >= min(most / target, by_draws):
        return ""
    needed = math.ceil(min(most / target, by_draws) * people / among)
    return (
        f"from score {accepted.score.min():.3f} on {accepted.errors} of {count} comparisons fail, those of "
        f"{failing} of {among} people, so up to {min(1, most / among):.1%} of all people may fail; "
        f"about {needed} people are needed"
    )


def check_share(faces: int, share: float) -> None:
    """Refuse a share of faces that so many of them cannot tell.

    Raises:
        InputError: There are too few faces.
    """
    if faces * share < LEAST_ERRORS:
        needed = math.ceil(LEAST_ERRORS / share)
        raise InputError(f"{faces} faces cannot tell the worst {share:.1%} of them, wanted {needed} or more")


def fit_discard(faces: Floats, name: str, target: float, seed: int = 0) -> Threshold:
    """Return the score below which a share of the faces lies; its interval is by draws of faces.

    Raises:
        InputError: There are too few faces for that share to mean anything.
    """
    check_share(len(faces), target)
    rng = np.random.default_rng(seed)
    drawn = [np.quantile(rng.choice(faces, len(faces)), target) for _ in range(DRAWS)]
    score = float(np.quantile(faces, target))
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return Threshold(name, "discard", target, score, min(low, score), max(high, score), float((faces < score).mean()))


def name_targets(targets: list[float]) -> dict[str, float]:
    """Return the targets by the name of their operating point: the strict one first.

    Raises:
        InputError: There are none, more than two, two equal ones, or one is no share between 0 and 1.
    """
    for target in targets:
        if not 0 < target < 1:
            raise InputError(f"a target is {target}, wanted a share above 0 and below 1, such as 0.01")
    if not 1 <= len(set(targets)) == len(targets) <= len(POINTS):
        raise InputError(f"there are {len(targets)} targets, wanted one or two different ones: {' and '.join(POINTS)}")
    return dict(zip(POINTS, sorted(targets), strict=False))


def _lowest(
    score: Floats, failed: NDArray[np.bool_], weight: NDArray[Any], ends: NDArray[np.int64], target: float
) -> float | None:
    """Return the lowest score from which on at most a share `target` fails. Scores fall; groups of equal ones end."""
    total, wrong = np.cumsum(weight)[ends], np.cumsum(weight * failed)[ends]
    good = np.flatnonzero((wrong <= target * total) & (total > 0))
    return float(score[ends[good[-1]]]) if len(good) else None


def curve_band(outcomes: Outcomes, at: Floats, seed: int = 0, draws: int = 200) -> tuple[Floats, Floats]:
    """Return the 95 % interval of the curve at some scores, by draws of people: its lower end, its upper end.

    Args:
        outcomes: Mated comparisons.
        at: (K,) scores.
        seed: Of the draws.
        draws: How many curves are fitted.
    """
    rng, people = np.random.default_rng(seed), outcomes.people
    members = np.split(np.argsort(outcomes.person, kind="stable"), np.cumsum(np.bincount(outcomes.person))[:-1])
    found = []
    for _ in range(draws):
        drawn = rng.integers(0, people, people)
        rows = np.concatenate([members[person] for person in drawn])
        person = np.repeat(np.arange(people), [len(members[person]) for person in drawn])
        part = Outcomes(outcomes.score[rows], outcomes.matched[rows], person)
        if part.score.min() < part.score.max():
            found.append(np.interp(at, *fit_curve(part)))
    low, high = np.quantile(found, (0.025, 0.975), axis=0)
    return low, high

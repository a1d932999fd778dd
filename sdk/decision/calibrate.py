"""From scores and embeddings of people's faces to a calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdk.decision.calibration import Calibration, Threshold
from sdk.decision.comparisons import MOST_NON_MATED, mated_pairs, non_mated_pairs
from sdk.decision.edc import pair_quality, threshold_at_fmr
from sdk.decision.fitting import (
    Floats,
    Outcomes,
    check_share,
    curve_undecided,
    fit_curve,
    fit_discard,
    fit_threshold,
    name_targets,
)
from sdk.decision.vectors import are_vectors, cosines
from sdk.errors import InputError

LEAST_PEOPLE = 10
"""Fewest people with several images that a curve is fitted to."""

LEAST_FALSE_MATCHES = 10
"""Fewest false matches that fix the judge's threshold."""

MOST_FAILURES = 0.95
"""Largest share of failed mated comparisons of a judge that recognises anybody."""

BY_CHANCE = 1e-3
"""Largest chance that a judge that recognises nobody is taken."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Faces that were scored, and embedded where there is a judge.

    Attributes:
        scores: float64 (N,).
        people: Person of each face; empty where nobody is named.
        embeddings: float32 (N, D); None without a judge.
    """

    scores: Floats
    people: Sequence[str] = ()
    embeddings: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """What a calibration is to decide.

    Attributes:
        fmr: False-match rate that the judge's threshold has.
        fnmr: False-non-match rates among accepted faces, one or two, for the operating points.
        seed: Of the draws.
    """

    fmr: float = 1e-3
    fnmr: tuple[float, ...] = (0.01, 0.05)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fmr < 1:
            raise InputError(f"fmr is {self.fmr}, wanted a share above 0 and below 1, such as 0.001")
        name_targets(list(self.fnmr))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration, and the comparisons that it was fitted to, for a picture of them."""

    calibration: Calibration
    scores: Floats
    outcomes: Outcomes | None = None


def calibrate(model: tuple[str, str], judge: tuple[str, str], found: Measured, targets: Targets) -> Fitted:
    """Fit a calibration to faces whose people are known.

    Args:
        model: Name of the quality model, and SHA-256 of its file.
        judge: Name of the face-recognition model, and SHA-256 of its file, which may be empty.
        found: Scores, people and embeddings.
        targets: See `Targets`.

    Raises:
        InputError: There are too few people or comparisons, a score is no number, or the judge recognises nobody.
    """
    scores, embeddings = np.asarray(found.scores, np.float64), found.embeddings
    _check_scores(scores)
    if embeddings is None or len(embeddings) != len(scores) or len(found.people) != len(scores):
        count = 0 if embeddings is None else len(embeddings)
        raise InputError(f"{len(scores)} scores, {count} embeddings, {len(found.people)} names; wanted equally many")
    if len(rows := np.flatnonzero(~are_vectors(embeddings))):
        raise InputError(f"{len(rows)} embeddings are all zero or no numbers, first row {rows[0]}; leave them out")
    several = check_people(found.people, targets.fmr)
    codes = np.unique(np.asarray(found.people), return_inverse=True)[1]
    mated, others = mated_pairs(codes.astype(str), seed=targets.seed), non_mated_pairs(codes.astype(str), seed=0)
    threshold = threshold_at_fmr(cosines(others, embeddings), targets.fmr)
    matched = cosines(mated, embeddings) > threshold
    person = np.unique(codes[mated[:, 0]], return_inverse=True)[1]
    _check_judge(judge[0], matched, person, targets.fmr)
    outcomes = Outcomes(np.asarray(pair_quality(scores, mated), np.float64), matched, person)
    few = curve_undecided(outcomes)
    curve = ((), ()) if few else fit_curve(outcomes)
    points = [
        fit_threshold(outcomes, scores, name, target, targets.seed)
        for name, target in name_targets(list(targets.fnmr)).items()
    ]
    calibration = Calibration(
        *model, *judge, targets.fmr, threshold, several, len(scores), len(mated), outcomes.errors, *curve,
        tuple(item for item in points if isinstance(item, Threshold)),
        tuple(item for item in (few, *points) if item and isinstance(item, str)),
    )  # fmt: skip
    return Fitted(calibration, scores, outcomes)


def _check_judge(name: str, matched: NDArray[np.bool_], person: NDArray[np.int64], fmr: float) -> None:
    """Refuse a judge whose mated comparisons do not match clearly more often than non-mated ones.

    If they matched as often, a person's match rate would be `fmr` in the mean. The chance that the mean over the people
    is then as high as it is has the bound of Hoeffding (1963, theorem 1), whatever the distribution is.
    """
    from scipy.special import rel_entr

    people, rate = int(person.max()) + 1, float((np.bincount(person, matched) / np.bincount(person)).mean())
    above = rel_entr(rate, fmr) + rel_entr(1 - rate, 1 - fmr) if rate > fmr else 0.0
    if matched.mean() < 1 - MOST_FAILURES or np.exp(-people * above) > BY_CHANCE:
        raise InputError(
            f"the judge {name} matches {rate:.1%} of the comparisons of one person, each of {people} people weighing "
            f"the same, and {fmr:.1%} of those of two; as far as they can tell, it recognises nobody: check its input "
            "(colour, mean, deviation) and the names of people"
        )


def check_people(people: Sequence[str], fmr: float) -> int:
    """Return the number of people with several pictures; refuse people of whom no calibration can come.

    Args:
        people: Person of each picture.
        fmr: See `Targets`.

    Raises:
        InputError: There are too few people, or too few non-mated comparisons for the false-match rate.
    """
    each = np.unique(np.asarray(people), return_counts=True)[1]
    several = int((each > 1).sum())
    if several < LEAST_PEOPLE:
        raise InputError(f"{several} of {len(each)} people have several pictures, wanted {LEAST_PEOPLE} or more")
    others = min((len(people) ** 2 - int((each**2).sum())) // 2, MOST_NON_MATED)
    if others * fmr < LEAST_FALSE_MATCHES:
        raise InputError(
            f"{others} non-mated comparisons cannot fix an FMR of {fmr:g}, wanted {LEAST_FALSE_MATCHES / fmr:.0f}; "
            "give more pictures or a higher --fmr"
        )
    return several


def check_shares(faces: int, shares: Sequence[float]) -> None:
    """Refuse shares of faces to turn away that so many faces cannot tell, or that are none.

    Raises:
        InputError: See above.
    """
    name_targets(list(shares))
    for share in shares:
        check_share(faces, share)


def calibrate_discard(model: tuple[str, str], scores: Floats, shares: Sequence[float], seed: int = 0) -> Fitted:
    """Choose thresholds by the share of faces that they turn away; nobody's name is needed, and no quality comes of it.

    Raises:
        InputError: A score is no number, all are equal, or there are too few faces.
    """
    scores = np.asarray(scores, np.float64)
    _check_scores(scores)
    # The strict point turns away more: `name_targets` puts the smaller number first, and here that one is lenient.
    named = zip(name_targets(list(shares)), sorted(shares, reverse=True), strict=True)
    thresholds = tuple(fit_discard(scores, name, share, seed) for name, share in named)
    return Fitted(Calibration(*model, images=len(scores), thresholds=thresholds), scores)


def _check_scores(scores: Floats) -> None:
    if len(scores) == 0:
        raise InputError("there is no face, so nothing to calibrate; check the pictures (fiqa score)")
    if not np.isfinite(scores).all():
        rows = np.flatnonzero(~np.isfinite(scores))
        raise InputError(f"{len(rows)} scores are no numbers, first of face {rows[0]}; leave these faces out")
    if scores.min() == scores.max():
        raise InputError(f"all {len(scores)} scores are {scores[0]:g}, so they tell nothing; check the model")

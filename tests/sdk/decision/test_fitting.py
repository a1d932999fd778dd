"""Curves and thresholds: examples worked by hand, intervals, and what cannot be told."""

import re

import numpy as np
import pytest

from sdk.decision.calibration import Threshold
from sdk.decision.fitting import (
    Outcomes,
    calibration_error,
    curve_band,
    curve_undecided,
    fit_curve,
    fit_discard,
    fit_threshold,
    name_targets,
    reliability,
)
from sdk.errors import InputError

pytest.importorskip("scipy", reason="needs the extra calibrate")


def outcomes(score: list[float], matched: list[int], person: list[int] | None = None) -> Outcomes:
    people = list(range(len(score))) if person is None else person
    return Outcomes(np.array(score), np.array(matched, bool), np.array(people))


def drawn(people: int = 200, each: int = 20, seed: int = 0) -> Outcomes:
    """Comparisons whose match rate is the score."""
    rng = np.random.default_rng(seed)
    score = rng.random(people * each)
    return Outcomes(score, rng.random(len(score)) < score, np.repeat(np.arange(people), each))


def test_isotonic_regression_pools_what_falls() -> None:
    # Two groups of two comparisons each; the match rate falls from 1 to 1/2, so both get 3/4.
    scores, rates = fit_curve(outcomes([0.1, 0.2, 0.7, 0.9], [1, 1, 1, 0]))
    assert scores == pytest.approx((0.15, 0.8))
    assert rates == pytest.approx((0.75, 0.75))
    # And rates that rise stay as they are.
    assert fit_curve(outcomes([0.1, 0.2, 0.7, 0.9], [0, 1, 1, 1]))[1] == pytest.approx((0.5, 1.0))


def test_each_person_weighs_the_same() -> None:
    # Person 0 has three comparisons, which fail, and person 1 one, which does not; equal scores are one group.
    scores, rates = fit_curve(outcomes([0.5, 0.5, 0.5, 0.5, 0.9], [0, 0, 0, 1, 1], [0, 0, 0, 1, 2]))
    assert scores == pytest.approx((0.5, 0.9))
    assert rates == pytest.approx((0.5, 1.0))


def test_a_curve_finds_the_match_rates_and_its_band_holds_them() -> None:
    found = drawn()
    scores, rates = fit_curve(found)
    assert len(scores) <= 64
    assert np.abs(np.array(scores) - rates).max() < 0.12
    others = drawn(seed=1)
    assert calibration_error(np.interp(others.score, scores, rates), others) < 0.03
    at = np.linspace(0.1, 0.9, 9)
    low, high = curve_band(found, at, draws=50)
    assert (low <= at).mean() > 0.8 < (high >= at).mean()
    assert (high - low).max() < 0.25


def test_equal_scores_give_no_curve() -> None:
    with pytest.raises(InputError, match=r"have the score 0\.5, so no curve"):
        fit_curve(outcomes([0.5, 0.5], [0, 1]))


def test_calibration_error_by_hand() -> None:
    found = outcomes([0.0] * 4, [0, 1, 1, 1])
    diagram = reliability(np.array([0.2, 0.4, 0.9, 0.9]), found, bins=2)
    assert diagram == pytest.approx(np.array([[0.3, 0.5, 2], [0.9, 1.0, 2]]))
    assert calibration_error(np.array([0.2, 0.4, 0.9, 0.9]), found, bins=2) == pytest.approx(0.15)


def test_a_threshold_is_the_lowest_score_that_keeps_the_rate() -> None:
    # 1,000 comparisons at scores 0 .. 999; of the lowest 100 every second one fails, of the others none. 5 % of those
    # from a score s on fail where (100 - s) / 2 = 0.05 (1000 - s), so at s = 0 already; 2 % where s = 62.5.
    failed = [index < 100 and index % 2 == 0 for index in range(1000)]
    found = outcomes(list(range(1000)), [not fails for fails in failed], [index % 250 for index in range(1000)])
    faces = np.arange(1000.0)
    enrol = fit_threshold(found, faces, "enrol", 0.02)
    assert isinstance(enrol, Threshold)
    assert enrol.score == 63  # 62 fails itself; from 63 on it is 18 of 937
    assert enrol.low <= 63 <= enrol.high
    assert enrol.low > 30
    assert enrol.high < 90
    assert enrol.faces == pytest.approx(0.063)
    assert enrol.comparisons == pytest.approx(0.063)
    identify = fit_threshold(found, faces, "identify", 0.05)
    assert isinstance(identify, Threshold)
    assert identify.score == 0
    assert identify.faces == 0


@pytest.mark.parametrize(
    ("found", "target", "words"),
    [
        (outcomes(list(range(100)), [1] * 50 + [0] * 50), 0.01, "does not exist"),
        (
            outcomes(list(range(100)), [1] * 100),
            0.01,
            r"from score 0\.000 on 0 of 100 .* 0 of 100 people, so up to 3\.0% .* 300",
        ),
        # From score 5 on nothing fails: 95 of 100 people are left, and it takes 300 of 95 %, 316.
        (outcomes(list(range(100)), [0] * 5 + [1] * 95), 0.01, r"from score 5\.000 on 0 of 95 .* about 316 people"),
        (outcomes(list(range(1000)), ([1] * 99 + [0]) * 10), 0.0101, "anywhere from .* to none at all, .* are needed"),
    ],
)
def test_what_cannot_be_told_is_said_with_the_number_that_is_needed(found: Outcomes, target: float, words: str) -> None:
    told = fit_threshold(found, found.score, "enrol", target)
    assert isinstance(told, str)
    assert re.search(words, told), told


@pytest.mark.parametrize(
    ("failures", "people", "needed"),
    [(0, 300, 300), (0, 299, 300), (1, 475, 475), (1, 474, 475), (2, 630, 630), (2, 629, 630)],
)
def test_few_failures_are_judged_by_the_bound_of_poisson(failures: int, people: int, needed: int) -> None:
    # With 95 % confidence at most 2.996, 4.744 and 6.296 failures are to be expected where 0, 1 and 2 are seen.
    found = outcomes(list(range(people)), [0] * failures + [1] * (people - failures))
    told = fit_threshold(found, found.score, "enrol", 0.01)
    if people >= needed:
        assert isinstance(told, Threshold)
        assert (told.low, told.score, told.high) == (0, 0, 0)
        assert told.interval == "at most 0.000"
    else:
        assert isinstance(told, str)
        assert told.endswith(f"about {needed} people are needed")


def test_a_target_that_allows_ten_failures_and_a_person_is_decided_by_draws() -> None:
    # 100 people with 10 comparisons each: 1 % of both are 10 comparisons and one person. 99 people are too few.
    found = outcomes(list(range(1000)), [1] * 1000, [index % 100 for index in range(1000)])
    assert isinstance(fit_threshold(found, found.score, "enrol", 0.01), Threshold)
    fewer = outcomes(list(range(1089)), [1] * 1089, [index % 99 for index in range(1089)])
    assert str(fit_threshold(fewer, fewer.score, "enrol", 0.01)).endswith("about 100 people are needed")


def test_fewer_failures_never_decide_less() -> None:
    for target in (0.01, 0.05):
        for failures in (0, 1, 9, 10):
            found = outcomes(
                list(range(10_000)), [0] * failures + [1] * (10_000 - failures), [row % 2000 for row in range(10_000)]
            )
            assert isinstance(fit_threshold(found, found.score, "enrol", target), Threshold)
    rng, decided = np.random.default_rng(0), 0
    for _ in range(40):
        people, each = int(rng.integers(20, 400)), int(rng.integers(1, 8))
        score, person = rng.random(people * each), np.repeat(np.arange(people), each)
        failed = rng.permutation(len(score))[: rng.integers(1, 20)]
        told = []
        for count in (len(failed), len(failed) // 2):
            matched = np.ones(len(score), bool)
            matched[failed[:count]] = False
            told.append(fit_threshold(Outcomes(score, matched, person), score, "enrol", 0.03))
        decided += isinstance(told[0], Threshold)
        assert isinstance(told[1], Threshold) or isinstance(told[0], str), told
    assert 10 < decided < 40


@pytest.mark.parametrize(
    ("failures", "words"),
    [
        (0, "0 of 100 comparisons fail, wanted 10 or more; add worse pictures of these people$"),
        (4, "4 of 100 comparisons fail, wanted 10 or more; add worse pictures of these people, or about 250 people$"),
        (10, "^$"),
    ],
)
def test_a_curve_takes_failures(failures: int, words: str) -> None:
    found = outcomes(list(range(100)), [0] * failures + [1] * (100 - failures))
    assert re.search(words, curve_undecided(found))


def test_no_failure_among_very_many_people_decides() -> None:
    found = outcomes(list(range(400)), [1] * 400)
    enrol = fit_threshold(found, found.score, "enrol", 0.01)
    assert isinstance(enrol, Threshold)
    assert enrol.score == 0


def test_a_share_of_faces() -> None:
    point = fit_discard(np.arange(1000.0), "enrol", 0.05)
    assert point.score == pytest.approx(49.95)
    assert point.faces == pytest.approx(0.05)
    assert 30 < point.low < point.score < point.high < 70
    with pytest.raises(InputError, match=r"50 faces cannot tell the worst 5\.0% of them, wanted 200"):
        fit_discard(np.arange(50.0), "enrol", 0.05)


def test_targets_have_names_and_the_strict_one_is_first() -> None:
    assert name_targets([0.05, 0.01]) == {"enrol": 0.01, "identify": 0.05}
    assert name_targets([0.02]) == {"enrol": 0.02}
    for wrong in ([], [0.1, 0.1], [0.1, 0.2, 0.3], [0.0], [1.0], [float("nan")]):
        with pytest.raises(InputError, match="wanted"):
            name_targets(wrong)

"""Error-versus-discard curves: examples computed by hand, ties, thresholds and the bootstrap."""

import numpy as np
import pytest

from sdk.decision.comparisons import Pairs, mated_pairs, non_mated_pairs
from sdk.decision.edc import bootstrap_pauc, edc, pair_quality, threshold_at_fmr
from sdk.errors import InputError
from train.evaluation.curves import EvaluationSettings, Interval

# Ten comparisons by quality: the 1st, 3rd and 7th fail. Errors left / comparisons left after 0, 1, ... 9 discards:
QUALITY = np.arange(10) / 10
ERRORS = np.array([1, 0, 1, 0, 0, 0, 1, 0, 0, 0], bool)
FNMR = [3 / 10, 2 / 9, 2 / 8, 1 / 7, 1 / 6, 1 / 5, 1 / 4, 0, 0, 0]


def test_by_hand() -> None:
    curve = edc(QUALITY, ERRORS)
    np.testing.assert_allclose(curve.fnmr, FNMR)
    np.testing.assert_allclose(curve.discard, np.arange(10) / 10)
    assert curve.auc(0.2) == pytest.approx((3 / 10 + 2 / 9) / 10)
    assert curve.pauc(0.2) == pytest.approx((3 / 10 + 2 / 9) / 10 / (0.3 * 0.2))
    assert curve.auc(0.25) == pytest.approx((3 / 10 + 2 / 9 + 0.5 * 2 / 8) / 10)  # half of a step
    assert curve.auc(1.0) == pytest.approx(sum(FNMR) / 10)


def test_order_does_not_matter_and_ties_are_averaged() -> None:
    # Four comparisons tie at the bottom and two of them fail: each discard takes half an error away on average.
    quality = np.array([0.1, 0.1, 0.1, 0.1, 0.5, 0.9])
    errors = np.array([1, 0, 1, 0, 0, 0], bool)
    wanted = [2 / 6, 1.5 / 5, 1 / 4, 0.5 / 3, 0, 0]
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(6)
        np.testing.assert_allclose(edc(quality[order], errors[order]).fnmr, wanted, atol=1e-12)


def test_a_constant_quality_is_a_random_discard() -> None:
    curve = edc(np.zeros(1000), np.arange(1000) % 7 == 0)
    assert curve.pauc(0.2) == pytest.approx(1.0)


def test_perfect_and_worst() -> None:
    errors = np.arange(100) < 10
    assert edc(np.arange(100.0), errors).fnmr[10] == 0
    assert edc(-np.arange(100.0), errors).pauc(0.3) > 1.1
    assert np.isnan(edc(QUALITY, np.zeros(10, bool)).pauc(0.2))


@pytest.mark.parametrize(("fmr", "threshold"), [(0.1, 0.89), (0.2, 0.79), (0.01, 0.98)])
def test_threshold(fmr: float, threshold: float) -> None:
    similarities = np.random.default_rng(0).permutation(100) / 100
    found = threshold_at_fmr(similarities, fmr)
    assert found == pytest.approx(threshold)
    assert (similarities > found).mean() == pytest.approx(fmr)


def test_threshold_never_exceeds_the_rate_on_ties() -> None:
    similarities = np.r_[np.zeros(90), np.full(10, 0.5)]
    assert (similarities > threshold_at_fmr(similarities, 0.05)).mean() <= 0.05


def test_people_are_limited_and_pairs_are_of_two_sides() -> None:
    people = ["a"] * 20 + ["b"] * 10
    mated = mated_pairs(people, limit=30)
    assert np.bincount(mated[:, 0] >= 20).tolist() == [30, 30]
    one, all_ = np.arange(30) == 25, np.ones(30, bool)
    for sides in ((one, all_), (all_, one)):
        assert sorted(mated_pairs(people, sides=sides).sum(axis=1) - 25) == [20, 21, 22, 23, 24, 26, 27, 28, 29]


def test_non_mated_pairs_are_all_or_drawn() -> None:
    people = ["a", "a", "b", "b", "c", "c"]
    every = non_mated_pairs(people, 15)
    assert len(every) == len({tuple(pair) for pair in every.tolist()}) == 12
    drawn = non_mated_pairs(people, 14)
    assert 5 < len(drawn) <= 14
    assert not any(people[a] == people[b] for a, b in drawn)


def test_pairs_of_two_sides_are_each_there_once() -> None:
    people = np.array(["a", "a", "a", "b", "b", "b"])
    first, second = np.isin(np.arange(6), [0, 1, 3]), np.isin(np.arange(6), [1, 2, 4])  # 1 is on both sides
    mated = {tuple(pair) for pair in mated_pairs(people, sides=(first, second)).tolist()}
    assert mated == {(0, 1), (0, 2), (1, 2), (3, 4)}
    every = non_mated_pairs(people, 8, sides=(first, second)).tolist()
    assert sorted(map(tuple, every)) == [(0, 4), (1, 4), (3, 1), (3, 2)]
    drawn = non_mated_pairs(people, 7, sides=(first, second))
    assert {tuple(pair) for pair in drawn.tolist()} <= {(0, 4), (1, 4), (3, 1), (3, 2)}
    both = non_mated_pairs(people, 15, sides=(first, first)).tolist()
    assert sorted(map(tuple, both)) == [(0, 3), (1, 3)]


def test_random_pairs_of_all_images_come_from_two_draws() -> None:
    people = np.arange(500)
    wanted = np.random.default_rng(3).integers(0, 500, (2, 1000)).T
    np.testing.assert_array_equal(non_mated_pairs(people, 1000, 3), wanted[wanted[:, 0] != wanted[:, 1]])


def test_intervals_leave_out_draws_in_which_nothing_goes_wrong() -> None:
    interval = Interval.of(0.5, np.array([np.nan, *np.arange(101.0)]))
    assert (interval.value, interval.low, interval.high) == (0.5, 2.5, 97.5)
    assert np.isnan(Interval.of(0.5, np.full(3, np.nan)).low)


def test_bootstrap_is_over_people_and_paired() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    errors = rng.random(300) < 0.2
    good, poor = errors * -1.0 + 0.3 * rng.normal(size=300), rng.normal(size=300)
    first = bootstrap_pauc(good, errors, groups, (0.2,), 200)
    second = bootstrap_pauc(poor, errors, groups, (0.2,), 200)
    assert np.array_equal(first, bootstrap_pauc(good, errors, groups, (0.2,), 200))
    assert (first < second).mean() > 0.99
    assert np.quantile(first, 0.025) < edc(good, errors).pauc(0.2) < np.quantile(first, 0.975)
    # One person holding every error: resampling people must often lose them all.
    alone = bootstrap_pauc(np.arange(300.0), groups == 0, groups, (0.2,), 200)
    assert 0.2 < np.isnan(alone).mean() < 0.55


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edc(np.zeros(0), np.zeros(0, bool)), "at least one"),
        (lambda: edc(np.zeros(3), np.zeros(2, bool)), "equally many"),
        (lambda: edc(QUALITY, ERRORS).auc(0), "discard rate is 0"),
        (lambda: threshold_at_fmr(np.zeros(50), 1e-3), "50 non-mated comparisons cannot show"),
        (lambda: pair_quality(np.array([np.nan, 1]), np.array([[0, 1]])), "without a quality"),
        (lambda: mated_pairs(["a", "b"]), "nobody has two images"),
        (lambda: non_mated_pairs(["a", "a"], 10), "of one person"),
        (lambda: Pairs(np.zeros((0, 2), int), np.zeros((1, 2), int)), "no mated comparison"),
        (lambda: Pairs(np.zeros((1, 2), int), np.zeros((0, 2), int)), "no non-mated comparison"),
        (lambda: EvaluationSettings(fmr=(1e-3, 2.0)), "FMR is 0.001, 2.0, wanted"),
        (lambda: EvaluationSettings(rates=()), "discard rate is missing"),
    ],
)
def test_bad_input(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]

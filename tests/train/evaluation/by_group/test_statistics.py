"""Shares turned away, halves and gaps, by hand-made scores."""

import numpy as np
import pytest

from train.evaluation.by_group.statistics import (
    exact_interval,
    half,
    make_groups,
    means,
    measure_groups,
    shares_turned_away,
    turned_away,
)

KINDS = ("ethnicity", "gender")
PEOPLE = [
    {"id": f"{index:03}", "ethnicity": ethnicity, "gender": gender}
    for index, (ethnicity, gender) in enumerate(
        [("a", "f")] * 5 + [("a", "m")] * 4 + [("b", "f")] * 3 + [("b", "m")] * 7 + [("a/b", "m"), ("b", "")]
    )
]


@pytest.mark.parametrize(
    ("scores", "weights", "away"),
    [
        ([5, 1, 4, 2, 3], [1, 1, 1, 1, 1], [1]),
        ([5, 1, 4, 1, 3], [1, 1, 1, 1, 1], []),  # two of five have the lowest score, which is more than 20 %
        ([5, 1, 4, 2, 3], [1, 0.5, 1, 0.5, 3], [1, 3]),
        ([5, 1, 4, 2, 3], [1, 2, 1, 0, 1], []),
    ],
)
def test_lowest_scores_are_turned_away(scores: list[float], weights: list[float], away: list[int]) -> None:
    found = turned_away(np.array(scores, float), np.array(weights, float))
    assert np.flatnonzero(found).tolist() == away


def test_groups_are_values_of_two_people() -> None:
    groups = make_groups(PEOPLE, KINDS)
    assert groups.names == ("everybody", "a", "b", "f", "m")
    assert groups.members.sum(axis=1).tolist() == [21, 9, 11, 8, 12]


@pytest.mark.parametrize(
    ("share", "people", "interval"),
    [(0, 1, (0, 0.975)), (0, 13, (0, 0.2471)), (1, 13, (0.7529, 1)), (0, 102, (0, 0.0355))],
)
def test_few_people_show_little(share: float, people: int, interval: tuple[float, float]) -> None:
    """Clopper and Pearson: 0 of 13 is compatible with a quarter."""
    assert exact_interval(share, people) == pytest.approx(interval, abs=1e-4)


def test_halves_divide_every_group() -> None:
    first, second = (half(PEOPLE, KINDS, "id", first) for first in (True, False))
    assert sorted(person["id"] for person in [*first, *second]) == [person["id"] for person in PEOPLE]
    for ethnicity, gender in {(person["ethnicity"], person["gender"]) for person in PEOPLE}:
        counts = [
            sum(person["ethnicity"] == ethnicity and person["gender"] == gender for person in part)
            for part in (first, second)
        ]
        assert abs(counts[0] - counts[1]) <= 1


def test_halves_do_not_follow_the_order_of_the_table() -> None:
    assert half(PEOPLE[::-1], KINDS, "id", True) == half(PEOPLE, KINDS, "id", True)


def test_shares_by_group() -> None:
    """Each of `b`'s five people weighs 10 % where both groups weigh the same."""
    people = [{"ethnicity": "a"}] * 10 + [{"ethnicity": "b"}] * 5
    groups = make_groups(people, ["ethnicity"])
    scores = np.array([1, 2, 6, 7, 8, 9, 10, 11, 12, 13, 3, 4, 14, 15, 16], float)
    weights, owners = np.ones(15), np.arange(15)
    assert shares_turned_away(scores, owners)(groups, weights).tolist() == pytest.approx([3 / 15, 2 / 10, 1 / 5])
    balanced = shares_turned_away(scores, owners, balance="ethnicity")(groups, weights)
    assert balanced.tolist() == pytest.approx([3 / 15, 2 / 10, 1 / 5])
    heavier = shares_turned_away(-scores, owners, balance="ethnicity")(groups, weights)
    assert heavier.tolist() == pytest.approx([2 / 15, 0, 2 / 5])


def test_gap_of_different_groups_is_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    people = [{"ethnicity": name} for name in "ab" for _ in range(40)]
    owners = np.repeat(np.arange(80), 2)
    alike = rng.normal(0, 0.1, 160)
    other = alike + np.where(owners < 40, 1.0, 0.0)
    groups, strata = make_groups(people, ["ethnicity"]), [person["ethnicity"] for person in people]
    gap = measure_groups(means(other, owners), groups, strata, draws=300).gaps["ethnicity"]
    assert 0.9 < gap.low < gap.value < gap.high < 1.1
    assert gap.chance < 0.4
    same = measure_groups(means(alike, owners), groups, strata, draws=300).gaps["ethnicity"]
    assert 0 <= same.value < 0.1
    assert same.chance == pytest.approx(0.032, abs=0.015)  # 1.96 * 0.1 * sqrt(2 / 80)

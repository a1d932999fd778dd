"""Names in natural order: a total order that agrees with numbers."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sdk.images.natural_order import natural_key
from tests.support.strategies import MANY, any_text

names = any_text | st.lists(
    st.integers(0, 30).map(str) | st.sampled_from(["a", "B", "-", ".", "/", " ", "٣", "²", "00"])
).map("".join)


@MANY
@given(st.lists(names, max_size=5, unique=True))
def test_a_total_order(texts: list[str]) -> None:
    ordered = sorted(texts, key=natural_key)
    for turned in itertools.islice(itertools.permutations(texts), 24):
        assert sorted(turned, key=natural_key) == ordered
    for first, second in itertools.pairwise(ordered):
        assert natural_key(first) < natural_key(second), "two names would be one"


@MANY
@given(
    st.text("abc _-", max_size=5), st.integers(0, 10**30), st.integers(0, 10**30), st.sampled_from(["", ".png", "b"])
)
def test_numbers_are_numbers(start: str, first: int, second: int, end: str) -> None:
    if first != second:
        one, other = (natural_key(f"{start}{number}{end}") for number in (first, second))
        assert (one < other) == (first < second)


@MANY
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_leading_zeros_do_not_count(first: int, second: int) -> None:
    if first < second:
        assert natural_key(f"frame{first:09d}.png") < natural_key(f"frame{second}.png")


@MANY
@given(st.integers(1, 3000))
def test_long_runs_of_digits(length: int) -> None:
    assert natural_key("9" * 3 * length) > natural_key("8" * 3 * length)

"""Strategies and numbers of examples that several property-based tests share."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FEW, SOME, MANY = (
    settings(
        max_examples=count, derandomize=True, deadline=None, database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    for count in (30, 80, 200)
)  # fmt: skip

any_text = st.text(st.characters(exclude_categories=()), max_size=30)
"""Any text, also with lone surrogates and control characters."""

names = st.text(st.characters(exclude_categories=("Cs",)), max_size=20) | st.sampled_from(
    [
        "001",
        "1e5",
        "NaN",
        "null",
        "true",
        "2020-01-01",
        "..",
        ".",
        " ",
        "a/b",
        "=1+1",
        '"',
        "'",
        "a,b",
        "a\nb",
        "#N/A",
        "\ufeff",
    ]
)
"""Names of people and files that readers of tables may take for numbers, dates or missing values."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=8,
)
"""Any value of JSON, and NaN and infinity, which JSON does not have."""

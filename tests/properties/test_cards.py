"""Cards made from any JSON value: each is read back equal, or refused with a ModelError."""

import dataclasses
import json
import math
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import ModelError
from sdk.models.card import InputSpec, ModelCard
from tests.support.strategies import MANY, any_text, json_values

FIELDS = [field.name for field in dataclasses.fields(ModelCard)]
INPUT_FIELDS = [field.name for field in dataclasses.fields(InputSpec)]

likely = st.sampled_from(
    ["quality", "detection", "onnx", "tensorrt", "openvino", "fp32", "int8", "int4", "BGR", "rgb", "NHWC", "uint8",
        [0, 1], [1, 0], [0.5] * 3, 112, 0, -1, True, "0" * 64]
)  # fmt: skip
specs = st.dictionaries(st.sampled_from(INPUT_FIELDS) | any_text, likely | json_values, max_size=3)
cards = st.fixed_dictionaries(
    {"name": st.just("card") | json_values},
    optional={
        **{name: likely | json_values for name in FIELDS if name not in ("name", "input")},
        "input": specs | json_values,
    },
)


def check(made: ModelCard) -> None:
    """Check that a card's values have the types of its fields, and that it is read back equal."""
    text = made.to_json()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    assert ModelCard.from_json(text) == made
    assert json.loads(text, parse_constant=refuse) == json.loads(json.dumps(made.to_dict()))
    assert made.task in ("quality", "detection")
    assert (made.input.colour, made.input.layout, made.input.dtype) in {
        (colour, layout, kind)
        for colour in ("BGR", "RGB")
        for layout in ("NHWC", "NCHW")
        for kind in ("uint8", "float32")
    }
    assert made.format in ("onnx", "tensorrt", "tensorrt-rtx", "openvino")
    assert isinstance(made.name, str)
    assert made.name.strip()
    for numbers, count in ((made.input.mean, 3), (made.input.std, 3), (made.score_range, 2)):
        assert len(numbers) == count
        assert all(type(number) is float and math.isfinite(number) for number in numbers)
    assert all(deviation > 0 for deviation in made.input.std)
    assert made.score_range[0] < made.score_range[1]
    assert all(type(side) is int and side >= 0 for side in (made.input.height, made.input.width))
    assert all(math.isfinite(value) for value in made.verification.values())
    assert type(made.proven) is bool


def check_values(values: dict[str, Any]) -> None:
    """Check a card made from plain values; a ModelError is accepted, too."""
    try:
        made = ModelCard.from_dict(values)
    except ModelError:
        return
    check(made)


@MANY
@given(cards)
def test_values(values: dict[str, Any]) -> None:
    check_values(values)


@MANY
@given(cards | json_values)
def test_json(values: Any) -> None:
    with suppress(ModelError):
        check(ModelCard.from_json(json.dumps(values)))


@MANY
@given(any_text | st.text('{}[]":,0123456789eE.-+ \\untfalse', max_size=60))
def test_any_text(text: str) -> None:
    with suppress(ModelError):
        check(ModelCard.from_json(text))


@MANY
@given(st.sampled_from(FIELDS), likely | json_values)
def test_the_class_itself(name: str, value: Any) -> None:
    try:
        made = dataclasses.replace(ModelCard("card"), **{name: value})
    except ModelError:
        return
    check(made)

"""A card is checked where it is made, so no other code meets a wrong value."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk import InputSpec, ModelCard, ModelError
from sdk.models.card import MOST_BYTES, EngineFacts
from sdk.models.formats import FORMATS, PRECISIONS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 5), ("name", ""), ("name", " "), ("name", None), ("name", "a\nb"), ("name", "a\x1b[2Jb"),
        ("name", "x" * 201), ("name", "a\ud800"), ("variant", ["x"]), ("task", "Quality"), ("task", 1),
        ("summary", b"x"), ("summary", "a\0b"), ("summary", "x" * 20_001), ("licence", "a\u202eb"), ("output", 0),
        ("output", "a\tb"), ("score_range", (0,)), ("score_range", (1, 0)), ("score_range", (1, 1)),
        ("score_range", "01"), ("score_range", (0, math.inf)), ("score_range", (math.nan, 1)),
        ("score_range", (False, True)), ("score_range", (0, 10**400)), ("score_range", 3), ("format", "ONNX"),
        ("format", {"onnx": 1}), ("precision", "int4"), ("precision", "bf16"), ("precision", None), ("proven", 1),
        ("proven", "yes"), ("source_sha256", "12"), ("source_sha256", "G" * 64), ("verification", [1]),
        ("verification", {"cpu": "0"}), ("verification", {"cpu": math.nan}), ("verification", {1: 0.5}),
        ("engine", [1]), ("engine", {"sha": "1"}), ("engine", {"batches": [0]}), ("engine", {"batches": "1,8"}),
        ("engine", {"batches": [True]}), ("engine", {"architectures": ["sm86"]}),
        ("engine", {"architectures": [8.6]}), ("engine", {"layers": {"fp16": -1}}), ("engine", {"layers": ["fp16"]}),
        ("engine", {"command": "a\nb"}), ("engine", {"version": 10.3}), ("engine", {"sha256": None}),
        ("input", "BGR"), ("input", {"color": "RGB"}), ("input", {"colour": "rgb"}), ("input", {"layout": "HWC"}),
        ("input", {"dtype": "float64"}), ("input", {"height": -1}), ("input", {"width": 112.0}),
        ("input", {"width": True}), ("input", {"height": 1 << 40}), ("input", {"mean": [0.5, 0.5]}),
        ("input", {"mean": "abc"}), ("input", {"std": [1, 1, 0]}), ("input", {"std": [1, 1, 1e-30]}),
        ("input", {"std": [1, 1, math.nan]}), ("input", {"mean": [0, 0, 1e9]}),
    ],
)  # fmt: skip
def test_a_wrong_value_names_itself(field: str, value: Any) -> None:
    with pytest.raises(ModelError, match=f"a model card.*{field}") as error:
        ModelCard.from_dict({"name": "x", field: value})
    assert len(str(error.value)) < 400
    assert str(error.value).isprintable()


def test_a_part_is_checked_by_itself() -> None:
    with pytest.raises(ModelError, match=r"input\.colour is 'GRB', wanted one of: BGR, RGB"):
        InputSpec(colour="GRB")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"engine\.sha256"):
        EngineFacts(sha256="ab")
    with pytest.raises(ModelError, match=r"precision is 'int8\+fp16', wanted one of: fp32, fp16, int8"):
        ModelCard("x", format="openvino", precision="int8+fp16")
    with pytest.raises(ModelError, match=r"score_range"):
        dataclasses.replace(ModelCard("x"), score_range=(2, 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ("[" * 200_000, "nested too deep"),
        ('{"name": ' * 50_000, "nested too deep"),
        ('{"name": "x", "notes": "' + "y" * MOST_BYTES + '"}', "characters, wanted at most"),
        ('{"name": "x", "name": "y"}', "occurs twice"),
        ('{"name": "x", "input": {"height": 1, "height": 2}}', "occurs twice"),
        ('{"name": "x", "score_range": [0, NaN]}', "NaN is no number of JSON"),
        ('{"name": "x", "score_range": [-Infinity, 0]}', "-Infinity is no number"),
        ('{"name": "x", "score_range": [0, 1e999]}', "score_range"),
        ('{"name": "x", "score_range": [0, 1' + "0" * 4000 + "]}", "score_range"),
        ('{"name": "x", "score_range": [0, 1' + "0" * 9000 + "]}", "not JSON"),
        ('{"name": "\\ud83d"}', "name"),
        ("5", "is a int, wanted an object"),
        ('{"licence": "MIT"}', "has no name"),
    ],
)  # fmt: skip
def test_text_that_is_no_card(text: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        ModelCard.from_json(text)


@pytest.mark.parametrize(
    "card",
    [
        ModelCard("x"),
        ModelCard(
            "naïve", "v", "detection", "one\ntwo", input=InputSpec(0, 0, "RGB", "NCHW", "float32", std=(1, 2, -3)),
            output="", score_range=(-1, 2.5), verification={"cpu, batch 1": 1e-7, "spearman": 1},
        ),
        ModelCard(
            "e", format="tensorrt", precision="int8+fp16", proven=False,
            engine=EngineFacts("0" * 64, "10.3.0", ("8.6", "12.0"), (1, 8), "", {"fp16": 3, "fp32": 0}, "build it"),
        ),
    ],
)  # fmt: skip
def test_there_and_back(card: ModelCard) -> None:
    assert ModelCard.from_json(card.to_json()) == card
    assert ModelCard.from_dict(card.to_dict()) == card
    assert json.loads(card.to_json())["format"] == card.format


def test_the_file_format_is_that_of_earlier_versions() -> None:
    old = {
        "name": "old", "format": "tensorrt", "precision": "fp16", "score_range": [0, 1],
        "engine": {
            "sha256": "a" * 64, "version": "10.3.0", "architectures": ["8.7"], "batches": [1, 8], "target": "",
            "layers": {"fp16": 52}, "command": "fiqa-export build old.onnx",
        },
    }  # fmt: skip
    card = ModelCard.from_dict(old)
    assert (card.engine.architectures, card.engine.batches, card.engine.layers) == (("8.7",), (1, 8), {"fp16": 52})
    assert json.loads(card.to_json())["engine"] == {key: value for key, value in old["engine"].items() if value}
    assert json.loads(ModelCard("x").to_json())["engine"] == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from([field.name for field in dataclasses.fields(ModelCard)])


@given(values=st.dictionaries(FIELDS | st.text(max_size=5), JSON, max_size=5))
@settings(max_examples=300, deadline=None)
def test_any_table_is_a_card_or_a_model_error(values: dict[str, Any]) -> None:
    try:
        card = ModelCard.from_dict({"name": "x", **values})
    except ModelError:
        return
    assert ModelCard.from_json(card.to_json()) == card


def test_the_table_of_formats_knows_its_own_words() -> None:
    for format_ in FORMATS.values():
        assert {precision for precision in format_.precisions if PRECISIONS[precision].in_files} == set(
            format_.precisions
        )
        assert format_.suffix == format_.suffix.lower()
        assert format_.devices[0] == "auto"


def test_a_card_prints_what_tells_models_apart() -> None:
    card = ModelCard("tiny", licence="MIT", precision="fp16", notes="long " * 100)
    assert repr(card) == "ModelCard(name='tiny', task='quality', format='onnx', precision='fp16', licence='MIT')"


def test_whole_numbers_become_floats() -> None:
    card = ModelCard("tiny", score_range=(0, 100))
    assert card.score_range == (0.0, 100.0)
    assert all(type(number) is float for number in card.score_range)


def test_a_calibration_is_a_part_of_the_card_and_a_wrong_one_is_refused() -> None:
    curve = {"model": "mine", "scores": [0.1, 0.9], "rates": [0.2, 1.0]}
    card = ModelCard("mine", calibration=curve)  # type: ignore[arg-type]
    assert card.calibration is not None
    assert card.calibration.quality(0.5) == 60
    assert ModelCard.from_json(card.to_json()) == card
    assert "calibration" not in ModelCard("mine").to_dict()
    with pytest.raises(ModelError, match="a model card's calibration is wrong: rates of a calibration is"):
        ModelCard("mine", calibration={**curve, "rates": [0.5, 0.2]})  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="a model card's calibration is 3, wanted a table"):
        ModelCard("mine", calibration=3)  # type: ignore[arg-type]

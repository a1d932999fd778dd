"""The record of what a run was made from, compared with that of another."""

from pathlib import Path
from typing import Any

import pytest

from sdk.errors import InputError
from train.run_state import RunRecord, digest, read_record

HERE = RunRecord({"seed": 0, "training": {"lr": 0.1, "groups": ({"tensors": 3}, {"tensors": 4}), "workers": 1}},
                 {"images": digest(["a", "b"])}, frozenset({"workers"}))  # fmt: skip


def other(**changed: Any) -> dict[str, Any]:
    return {**HERE.as_dict(), **changed}


def training(**changed: Any) -> dict[str, Any]:
    return {"training": {**HERE.as_dict()["training"], **changed}}


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (other(), ""),
        (other(**training(workers=9)), ""),
        (other(seed=1), "with seed=1, this one has seed=0"),
        (other(seed=1, **training(lr=1.0)), "with seed=1, this one has seed=0"),
        (other(**training(lr=1.0)), "with training.lr=1.0, this one has training.lr=0.1"),
        (other(**training(more="x")), "with training.more='x', this one has training.more=nothing"),
        (
            other(**training(groups=[{"tensors": 3}, {"tensors": 5}])),
            "with training.groups.1.tensors=5, this one has training.groups.1.tensors=4",
        ),
        (
            other(**training(groups=[])),
            "with training.groups=[], this one has training.groups=[{'tensors': 3}, {'tensors': 4}]",
        ),
        (other(images="0" * 64), "with other images"),
        ({key: value for key, value in other().items() if key != "images"}, "with other images"),
        (other(card={"a": 1}), "with card={'a': 1}, this one has card=nothing"),
    ],
)
def test_the_first_difference_is_named(found: dict[str, Any], difference: str) -> None:
    assert HERE.difference(found) == difference


def test_what_a_record_of_an_earlier_version_lacks_has_its_value_of_then() -> None:
    record = RunRecord({"seed": 0, "loss": "l2"}, earlier={"loss": "l2"})
    assert record.difference({"seed": 0}) == ""
    assert record.difference({"seed": 0, "loss": "l1"}) == "with loss='l1', this one has loss='l2'"
    changed = RunRecord({"seed": 0, "loss": "l1"}, earlier={"loss": "l2"})
    assert changed.difference({"seed": 0}) == "with loss='l2', this one has loss='l1'"


def test_tuples_are_lists() -> None:
    assert RunRecord({"betas": (0.9, 0.99)}).as_dict() == {"betas": [0.9, 0.99]}
    assert RunRecord({"betas": [0.9, 0.99]}).difference({"betas": (0.9, 0.99)}) == ""


def test_another_run_is_refused_shortly(tmp_path: Path) -> None:
    record = RunRecord({"a": "b" * 10_000})
    record.check({"a": "b" * 10_000}, tmp_path / "state.pt", "give another --out")
    with pytest.raises(InputError, match=r"state.pt is of a run with a='c', this one has a='bbb.*; give another --out"):
        record.check({"a": "c"}, tmp_path / "state.pt", "give another --out")
    with pytest.raises(InputError, match=r"with a='bbb.*, this one has a=nothing; y") as raised:
        RunRecord({}).check({"a": "b" * 10_000}, tmp_path / "x", "y")
    assert len(str(raised.value)) < 400 + len(str(tmp_path))


def test_digest() -> None:
    assert digest(["ab"]) == digest(["a", b"b"]) == "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603"
    assert digest([]) != digest(["a"])


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 10_000, b'{"a": ' * 3000])
def test_damaged_records(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "prepare.json").write_bytes(content)
    with pytest.raises(InputError, match=r"prepare\.json") as raised:
        read_record(tmp_path / "prepare.json")
    assert len(str(raised.value)) < 500

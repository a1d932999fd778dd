"""Results by group, worked by hand."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from sdk.decision.comparisons import Pairs
from sdk.decision.measures import make_measure
from sdk.decision.reasons import find_reasons
from sdk.errors import InputError
from sdk.results_io.rows import csv_text
from sdk.results_io.scored_face import ScoredFace
from train.cli import app
from train.data.manifest import Manifest, read_table
from train.evaluation.by_group.grouping import ANY, Grouping, evaluate_groups
from train.evaluation.by_group.tables import markdown, write_groups
from train.evaluation.curves import EvaluationSettings, Point

PEOPLE = ["ann", "bea", "cid", "dan"]
SETTINGS = EvaluationSettings(rates=(0.5,), repetitions=50)
REASONS = ["none", "too_dark", "none", "none", "blurred too_dark", "too_dark", "none", "blurred"]
SCORES = np.array([0.9, 0.2, 0.8, 0.7, 0.1, 0.6, 0.5, 0.4])
PAIRS = Pairs(np.array([(0, 1), (2, 3), (4, 5), (6, 7)]), np.array([(0, 2), (4, 6)]))


def manifest(**columns: list[object]) -> Manifest:
    """Two images of each person; women first."""
    given = {"path": [f"{index}.png" for index in range(8)], "identity": [name for name in PEOPLE for _ in range(2)]}
    return Manifest(pa.table({**given, **columns}), Path())


def evaluated(part: Manifest, grouping: Grouping) -> object:
    """Ann's comparison and Cid's fail."""
    point = Point(0.5, 0.5, 0.5, [], 2)
    mated = np.array([0.2, 0.9, 0.1, 0.8])
    other = SCORES[::-1].copy()
    return evaluate_groups("clean", part, PAIRS, mated, [point], {"a": SCORES, "b": other}, grouping, SETTINGS)


def test_a_group_has_its_own_curve_and_its_share_below_the_threshold() -> None:
    sex = ["f"] * 4 + ["m"] * 4
    found = evaluated(manifest(sex=sex, reasons=REASONS), Grouping(("sex",), threshold=0.45))
    assert (found.groups.names, found.images) == (("everybody", "f", "m"), (8, 4, 4))
    first, second = found.methods
    # Everybody: both failures have the lowest scores: FNMR 1/2, then 1/3, then 0.
    assert [value.value for value in first.pauc[0.5, 0.5]] == pytest.approx(
        [(0.25 / 2 + 0.25 / 3) / (0.5 * 0.5), 1.0, 1.0]
    )
    assert first.turned_away.values.tolist() == [3 / 8, 1 / 4, 2 / 4]
    assert first.turned_away.gaps["sex"].value == 0.25
    assert second.turned_away is None  # the threshold is of the first method
    assert {code: result.values.tolist() for code, result in found.alarms.items()} == {
        ANY: [4 / 8, 1 / 4, 3 / 4], "blurred": [2 / 8, 0, 2 / 4], "too_dark": [3 / 8, 1 / 4, 2 / 4]
    }  # fmt: skip
    for low, high in found.alarms[ANY].intervals:
        assert 0 <= low <= high <= 1


def test_without_a_threshold_each_method_turns_a_fifth_away() -> None:
    found = evaluated(manifest(sex=["f"] * 4 + ["m"] * 4), Grouping(("sex",)))
    assert [method.turned_away.values.tolist() for method in found.methods] == [[1 / 8, 0, 1 / 4], [1 / 8, 1 / 4, 0]]
    assert found.alarms == {}


def test_tables(tmp_path: Path) -> None:
    found = evaluated(manifest(sex=["f"] * 4 + ["m"] * 4, reasons=REASONS), Grouping(("sex",), threshold=0.45))
    write_groups([found], 0.45, tmp_path)
    table = read_table(tmp_path / "groups.csv")
    assert table["group"].to_pylist() == ["everybody", "f", "m"] * 2
    assert table["turned_away"].to_pylist() == [0.375, 0.25, 0.5, None, None, None]
    assert table["reason too_dark"].to_pylist() == [0.375, 0.25, 0.5] * 2
    text = (tmp_path / "groups.md").read_text()
    assert text == markdown([found], 0.45)
    assert "| group | people | images | pAUC@0.5, FMR 0.5 | turned away below 0.45 |" in text
    assert "| m | 2 | 4 | 1.000 (" in text
    assert "| largest gap, sex |  |  |  | 25.0 points (by chance" in text


def test_a_group_without_a_failure_has_no_pauc() -> None:
    found = evaluated(manifest(side=["x", "x", "y", "y", "x", "x", "y", "y"]), Grouping(("side",)))
    values = [value.value for value in found.methods[0].pauc[0.5, 0.5]]
    assert values[1] == pytest.approx(1.0)  # all of them fail
    assert np.isnan(values[2])
    assert "–" in markdown([found], None)  # noqa: RUF001 - the tables' dash


def test_people_may_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id,sex\n" + "".join(f"{name},{name[0]}\n" for name in "aabb"))
    part = manifest(identity=[name for name in ("001", "002", "003", "004") for _ in range(2)])
    (tmp_path / "people.csv").write_text("id,sex\n001,f\n002,f\n003,m\n004,m\n005,m\n")
    found = evaluated(part, Grouping(("sex",), tmp_path / "people.csv"))
    assert (found.groups.names, found.images) == (("everybody", "f", "m"), (8, 4, 4))
    (tmp_path / "people.csv").write_text("id,sex\n001,f\n002,f\n")
    with pytest.raises(InputError, match="lacks 2 of 4 people, first '003'"):
        evaluated(part, Grouping(("sex",), tmp_path / "people.csv"))
    with pytest.raises(InputError, match=r"people\.csv has no column 'age', only id, sex"):
        evaluated(part, Grouping(("age",), tmp_path / "people.csv"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "the manifest has no column 'sex'"),
        ({"sex": ["f", "m"] * 4}, "the manifest has two groups for 'ann'"),
        ({"sex": [f"{index // 2}" for index in range(8)]}, "no value of sex has two people"),
        ({"sex": ["f"] * 8, "reasons": [None, *REASONS[1:]]}, "1 images have nothing in the column 'reasons'"),
    ],
)
def test_wrong_groups(columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluated(manifest(**columns), Grouping(("sex",)))


def test_a_table_of_fiqa_score_has_all_that_is_needed(tmp_path: Path) -> None:
    """As in docs/evaluation.md: photos are scored in their folder, and the table is evaluated."""
    rng, rows, vectors = np.random.default_rng(0), [], []
    dark = {"darkness": make_measure("darkness", 3.0)}
    for person in range(8):
        (tmp_path / f"{person:03}").mkdir()
        centre = rng.standard_normal(16)
        for index in range(3):
            path = Path(f"{person:03}/{index}.png")
            cv2.imwrite(str(tmp_path / path), rng.integers(0, 255, (112, 112, 3), np.uint8))
            reasons = find_reasons(dark) if person < 4 and index == 0 else ()
            rows.append(ScoredFace(path, 0, 0.1 if index == 0 else 0.5 + 0.01 * person, reasons=reasons))
            vectors.append(centre if index else rng.standard_normal(16))
    (tmp_path / "scores.csv").write_bytes(csv_text(rows, header=True).encode())
    (tmp_path / "people.csv").write_text("id,sex\n" + "".join(f"{name:03},{'fm'[name // 4]}\n" for name in range(8)))
    np.save(tmp_path / "e.npy", np.array(vectors, np.float32))
    options = ["--methods", "score", "--embeddings", tmp_path / "e.npy", "--fmr", "0.05", "--bootstrap", "20"]
    options += ["--by", "sex", "--people", tmp_path / "people.csv", "--threshold", "0.3", "--out", tmp_path / "out"]
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "scores.csv"), *map(str, options)])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "| group | people | images | any reason | too_dark |" in lines
    assert "| f | 4 | 12 | 33.3 % (33.3 to 33.3) | 33.3 % (33.3 to 33.3) |" in lines
    assert "| m | 4 | 12 | 0.0 % (0.0 to 60.2) | 0.0 % (0.0 to 60.2) |" in lines
    (shares,) = [line for line in lines if line.startswith("| everybody | 8 | 24 | ") and "pAUC" not in line][:1]
    assert shares.endswith("| 33.3 % (33.3 to 33.3) |")


def test_options_of_groups_need_groups(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,identity,a\nx.png,p,0.5\n")
    options = ["--methods", "a", "--embeddings", "e.npy", "--out", str(tmp_path / "out"), "--threshold", "0.5"]
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "a.csv"), *options])
    assert result.exit_code == 2
    assert "--people and --threshold are for groups; name their columns by --by" in result.stderr

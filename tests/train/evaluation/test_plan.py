"""Evaluations of a recipe: the section, the folders, what is left as it is, and the summary."""

import re
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import yaml

from sdk.errors import InputError
from tests.support.tiny_models import embedding_model
from train.data.manifest import read_table, write_table
from train.evaluation.plan import EvaluationPlan, evaluate_plan
from train.evaluation.run import Methods
from train.evaluation.selection import Selection

PLAN = """
fmr: [0.1]
rates: [0.5]
repetitions: 20
sets: [clean]
splits: [validation, test]
protocols: {across: {images: "*_0.png", against: "*_1.png"}}
judges: {other: judge.onnx, same: teacher}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve people with three crops each, half of them of either split; scores, a teacher's embeddings, a judge."""
    rng = np.random.default_rng(0)
    rows = []
    for person in range(12):
        face = rng.normal(128, 40, (7, 7, 3))
        for index in range(3):
            path = tmp_path / f"p{person}_{index}.png"
            noise = rng.normal(0, 120 * index, face.shape)
            crop = cv2.resize((face + noise).clip(0, 255).astype(np.uint8), (112, 112), interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(path), crop)
            split = "test" if person % 2 else "validation"
            row = {"path": path.name, "identity": f"p{person}", "split": split}
            rows.append({**row, "good": -float(index), "poor": rng.random()})
    write_table(pa.Table.from_pylist(rows), tmp_path / "scores.parquet")
    np.save(tmp_path / "teacher.npy", rng.normal(size=(36, 4)).astype(np.float32))
    (tmp_path / "judge.onnx").write_bytes(embedding_model().SerializeToString())
    return tmp_path


def test_each_split_judge_and_protocol_is_evaluated_once(data: Path) -> None:
    plan = EvaluationPlan.from_recipe(yaml.safe_load(PLAN), data)
    out, methods = data / "run", Methods(["good", "poor"])
    parts = [(split, judge, "across") for split in ("validation", "test") for judge in ("other", "same")]
    tables = [out / "evaluation" / Path(*part) / "table.csv" for part in parts]

    def evaluated() -> list[int]:
        evaluate_plan(plan, data / "scores.parquet", data / "teacher.npy", methods, out)
        return [table.stat().st_mtime_ns for table in tables]

    first = evaluated()
    rows = read_table(out / "evaluation/summary.csv").to_pylist()
    names = ("split", "judge", "protocol", "set", "method")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (*part, "clean", method) for part in parts for method in ("good", "poor")
    ]
    table = read_table(tables[2]).to_pylist()
    assert [(row["judge"], row["images"], row["mated"], row["non_mated"]) for row in table] == [
        ("other", 12, 6, 30)
    ] * 2
    assert all(0 < row["pauc@0.5"] < 2 for row in rows)
    for name in ("pauc@0.5", "low@0.5", "high@0.5", "first_better@0.5"):
        assert [row[name] for row in rows[4:6]] == [row[name] for row in table]
    assert np.load(out / "judges/other/embeddings.npy").shape == (36, 8)
    text = (out / "evaluation/summary.md").read_text()
    assert "## test, judged by other, FMR 0.1\n\n| protocol | set | errors | method | pAUC@0.5 |\n" in text
    assert re.search(r"\| across \| clean \| \d \| poor \| too few errors to tell \|", text)
    tables[2].with_name("evaluation.json").unlink()  # as if it was stopped
    again = evaluated()
    assert [new != old for new, old in zip(again, first, strict=True)] == [False, False, True, False]


@pytest.mark.parametrize(
    ("section", "folders"),
    [
        ("{}", ["."]),
        ("{splits: [a, b]}", ["a", "b"]),
        ("{judges: {j: teacher, k: teacher}}", ["j", "k"]),
        ("{protocols: {p: }, judges: {j: teacher}, splits: [a]}", ["j/p"]),
    ],
)
def test_what_has_no_name_has_no_folder(section: str, folders: list[str], data: Path) -> None:
    plan = EvaluationPlan.from_recipe(yaml.safe_load(section), data)
    assert [str(part.folder.relative_to(data)) for part in plan.parts(data)] == folders


def test_defaults_and_values(data: Path) -> None:
    assert EvaluationPlan.from_recipe(None, data) == EvaluationPlan(sets=("clean", "mixed", "harsh"), splits=("test",))
    plan = EvaluationPlan.from_recipe(yaml.safe_load(PLAN), data)
    assert plan.protocols == {"across": Selection("*_0.png", "*_1.png")}
    assert plan.judges == {"other": str(data / "judge.onnx"), "same": "teacher"}
    assert (plan.rates, plan.mated_limit) == ((0.5,), 200)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{judge: {a: teacher}}", "has no setting 'judge', wanted one of: fmr, .* protocols, judges"),
        ("{judges: {a: absent.onnx}}", "evaluate.judges.a: no file at .*absent.onnx"),
        ("{judges: {a: iresnet50}}", "wanted teacher, an .onnx file, a name in the catalogue or module:function"),
        ("{judges: {a: 3}}", "evaluate.judges.a is 3, wanted text"),
        ("{judges: [teacher]}", r"evaluate.judges is \['teacher'\], wanted a mapping of names"),
        ("{protocols: {../x: {}}}", "evaluate.protocols has the name '../x', wanted letters"),
        ("{protocols: {x: {image: a}}}", "Selection has no setting 'image', wanted one of: images, against"),
        ("{protocols: {x: {images: 1}}}", "Selection.images is 1"),
        ("{sets: [cleen]}", "evaluate.sets has 'cleen', wanted some of: clean"),
        ("{splits: []}", "evaluate.splits is empty"),
        ("{fmr: [2.0]}", r"FMR is 2.0, wanted numbers in \(0, 1\)"),
    ],
)
def test_wrong_sections(section: str, message: str, data: Path) -> None:
    with pytest.raises(InputError, match=message):
        EvaluationPlan.from_recipe(yaml.safe_load(section), data)

"""Evaluation as a whole: a worked example, lists of pairs, sets, files that are wrong, and the command."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from sdk.decision.comparisons import Pairs, mated_pairs, non_mated_pairs
from sdk.decision.edc import edc, pair_quality
from sdk.errors import InputError
from tests.support.tiny_models import embedding_model
from tests.support.weights import tame_network
from train.cli import app
from train.data.manifest import Manifest, make_manifest, read_manifest, read_table, write_table
from train.evaluation import curves
from train.evaluation.curves import EvaluationSettings, evaluate_set
from train.evaluation.inputs import EmbeddingSource, method_scores
from train.evaluation.pairs import read_pairs
from train.evaluation.results.tables import markdown, rows_of, terminal_table
from train.evaluation.run import Protocol, chosen_split, pairs_of_set
from train.evaluation.selection import Selection
from train.evaluation.sets import set_rows
from train.networks import save_network

# Twelve comparisons of unit vectors in the plane, by angle in degrees; a comparison's similarity is the cosine of the
# difference. Eight people: one image at `angle`, the other `apart` from it.
#
# image            0    2    4    6    8   10   12   14      and 1, 3, ... 15: the same + apart
# angle            0   45   90  135  180  225  270  315
# apart            5    5   30    5   40    5   20    5
# lower quality   .9   .2   .1   .8   .3   .3   .5   .7      (the other image of each pair has 1.0)
ANGLE = np.array([0, 45, 90, 135, 180, 225, 270, 315])
APART = np.array([5, 5, 30, 5, 40, 5, 20, 5])
LOWER = np.array([0.9, 0.2, 0.1, 0.8, 0.3, 0.3, 0.5, 0.7])
# Four non-mated comparisons: 1-2 (45 - 5 = 40 degrees), 5-6 (135 - 120 = 15), 9-10 (225 - 220 = 5), 13-14 (315 - 290 =
# 25). At FMR 0.25 one of four may match: the threshold is the second highest similarity, cos 15. At 0.5 it is cos 25.
NON_MATED = np.array([(1, 2), (5, 6), (9, 10), (13, 14)])


def worked_example(settings: EvaluationSettings) -> Any:
    angles = np.radians(np.stack([ANGLE, ANGLE + APART], axis=1).ravel())
    quality = np.stack([LOWER, np.ones(8)], axis=1).ravel()
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.arange(1, 17)[:, None]  # lengths do not matter
    people = [f"p{index // 2}" for index in range(16)]
    pairs = Pairs(np.arange(16).reshape(8, 2), NON_MATED)
    return evaluate_set("hand", pairs, people, embeddings, {"q": quality, "constant": np.ones(16)}, settings)


def test_a_dozen_comparisons_by_hand() -> None:
    result = worked_example(EvaluationSettings(fmr=(0.25, 0.5), rates=(0.2, 0.3), repetitions=50))
    strict, loose = result.points
    assert (strict.threshold, loose.threshold) == pytest.approx(
        (math.cos(math.radians(15)), math.cos(math.radians(25)))
    )
    # FMR 0.25: more than 15 degrees apart fails: the pairs with lower quality .1 (30), .3 (40) and .5 (20). By quality:
    # .1 fails, .2, then .3 twice of which one fails, .5 fails, .7, .8, .9. Discarding one of the two at .3 takes half
    # an error away on average. Errors left / comparisons left after 0 .. 7 discards:
    steps = [3 / 8, 2 / 7, 2 / 6, 1.5 / 5, 1 / 4, 0, 0, 0]
    np.testing.assert_allclose(strict.methods[0].curve.fnmr, steps, atol=1e-12)
    assert strict.fnmr == 3 / 8
    # A step is 1/8 wide. Up to 0.2 = 1.6 steps: the first whole, 0.6 of the second; up to 0.3: 2.4 steps.
    auc2 = (3 / 8 + 0.6 * 2 / 7) / 8
    auc3 = (3 / 8 + 2 / 7 + 0.4 * 2 / 6) / 8
    assert strict.methods[0].curve.auc(0.2) == pytest.approx(auc2)
    assert strict.methods[0].curve.auc(0.3) == pytest.approx(auc3)
    assert strict.methods[0].pauc[0.2].value == pytest.approx(auc2 / (3 / 8 * 0.2)) == pytest.approx(0.9107142857)
    assert strict.methods[0].pauc[0.3].value == pytest.approx(auc3 / (3 / 8 * 0.3)) == pytest.approx(0.8822751323)
    # A constant quality is one tie: the curve stays at 3/8, which is a random discard.
    assert strict.methods[1].pauc[0.2].value == pytest.approx(1)
    assert strict.methods[1].difference[0.2].value == pytest.approx(1 - 0.9107142857)
    # FMR 0.5: only 30 and 40 degrees fail, at qualities .1 and .3.
    np.testing.assert_allclose(loose.methods[0].curve.fnmr, [2 / 8, 1 / 7, 1 / 6, 0.5 / 5, 0, 0, 0, 0], atol=1e-12)


def test_few_errors_are_counted_and_give_no_figures() -> None:
    result = worked_example(EvaluationSettings(fmr=(0.5, 0.25), rates=(0.2,), repetitions=50))
    assert [(row["errors"], row["method"]) for row in rows_of([result])] == [
        (2, "q"), (2, "constant"), (3, "q"), (3, "constant"),
    ]  # fmt: skip
    text = markdown([result])
    assert "| method | hand, pAUC@0.2 (3 errors) |" in text
    assert "| q | too few errors to tell |" in text
    assert "0.911" not in text
    table = terminal_table([result])
    assert list(table.columns[2].cells) == ["2", "2", "3", "3"]
    assert list(table.columns[4].cells) == ["too few errors to tell"] * 4


def test_rows_and_tables_have_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "FEWEST_ERRORS", 1)
    result = worked_example(EvaluationSettings(fmr=(0.5, 0.25, 0.01), rates=(0.2,), repetitions=50))
    assert result.not_shown == (0.01,)
    rows = rows_of([result])
    assert [(row["fmr"], row["method"]) for row in rows] == [
        (0.5, "q"), (0.5, "constant"), (0.25, "q"), (0.25, "constant"), (0.01, None),
    ]  # fmt: skip
    assert rows[4]["note"] == "4 non-mated comparisons cannot show an FMR of 0.01, wanted 100"
    assert rows[2]["auc@0.2"] == pytest.approx((3 / 8 + 0.6 * 2 / 7) / 8, abs=1e-6)
    assert rows[2]["pauc@0.2"] == 0.910714
    assert rows[2]["difference@0.2"] == 0
    assert 0.5 < rows[3]["first_better@0.2"] <= 1
    text = markdown([result])
    assert "| method | hand, pAUC@0.2 (3 errors) |" in text
    assert "| q | **0.911** (" in text
    assert "wanted 100" in text
    assert "| constant | 0.089 (" in text  # 1 - 0.911, the difference from the first
    assert "| constant | – |  |" in text  # noqa: RUF001 - no rank correlation with a constant
    assert terminal_table([result]).row_count == 5


def test_a_good_method_is_first_and_the_difference_says_so() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(80), 4)
    noise = rng.uniform(0.05, 1.2, 320)
    embeddings = rng.normal(size=(80, 16))[people] + noise[:, None] * rng.normal(size=(320, 16))
    scores = {"good": -noise, "random": rng.random(320), "same": -2 * noise}
    pairs = Pairs(mated_pairs(people), non_mated_pairs(people))
    result = evaluate_set("clean", pairs, people, embeddings, scores, EvaluationSettings(repetitions=100))
    good, random, same = result.points[0].methods
    assert good.pauc[0.2].value < 0.92 < 0.97 < random.pauc[0.2].value
    assert good.pauc[0.2].low < good.pauc[0.2].value < good.pauc[0.2].high
    assert random.first_better[0.2] == 1
    assert 0 < random.difference[0.2].low < random.difference[0.2].value < random.difference[0.2].high
    assert (same.first_better[0.2], same.difference[0.2].low, same.difference[0.2].high) == (0.5, 0, 0)
    assert (result.mated, result.images, result.identities) == (80 * 6, 320, 80)
    assert abs(result.spearman[0, 1]) < 0.2
    assert result.spearman[0, 2] == pytest.approx(1) == result.kendall[2, 0]


def test_no_false_non_match_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "FEWEST_ERRORS", 0)
    embeddings = np.repeat(np.eye(4), 2, axis=0)
    people = np.repeat(list("abcd"), 2)
    pairs = Pairs(mated_pairs(people), non_mated_pairs(people))
    result = evaluate_set(
        "x", pairs, people, embeddings, {"a": np.arange(8.0), "b": -np.arange(8.0)}, EvaluationSettings((0.1,))
    )
    assert result.points[0].fnmr == 0
    assert rows_of([result])[1]["pauc@0.2"] is None
    assert "| b | – | – |" in markdown([result])  # noqa: RUF001


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Ten people with three crops each in folders, with a labelled manifest and embeddings beside them."""
    rng = np.random.default_rng(0)
    rows, vectors = [], []
    for person in range(10):
        centre = rng.normal(size=16)
        for index in range(1, 4):
            path = tmp_path / f"P_{person}" / f"P_{person}_{index:04d}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 256, (112, 112, 3), dtype=np.uint8))
            rows.append({"path": path.relative_to(tmp_path).as_posix(), "good": -float(index), "poor": rng.random()})
            vectors.append(centre + 0.5 * index * rng.normal(size=16))
    write_table(pa.Table.from_pylist(rows), tmp_path / "labels.csv")
    np.save(tmp_path / "e.npy", np.array(vectors, np.float32))
    return tmp_path


def pairs_txt(path: Path, folds: int = 2, header: str = "2\t5") -> Path:
    """Two folds of five mated and five non-mated pairs."""
    lines = [header]
    for fold in range(folds):
        lines += [f"P_{person}\t{1 + fold}\t3" for person in range(5 * fold, 5 * fold + 5)]
        lines += [f"P_{person}\t1\tP_{(person + 3) % 10}\t2" for person in range(5 * fold, 5 * fold + 5)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_pairs_txt_and_csv_name_the_same(faces: Path) -> None:
    manifest = read_manifest(faces / "labels.csv")
    pairs = read_pairs(pairs_txt(faces / "pairs.txt"), manifest)
    assert len(pairs.mated) == len(pairs.non_mated) == 10
    paths = manifest.paths
    assert [paths[row] for row in pairs.mated[0]] == ["P_0/P_0_0001.png", "P_0/P_0_0003.png"]
    assert [paths[row] for row in pairs.mated[5]] == ["P_5/P_5_0002.png", "P_5/P_5_0003.png"]
    assert [paths[row] for row in pairs.non_mated[9]] == ["P_9/P_9_0001.png", "P_2/P_2_0002.png"]
    lines = ["a,b,mated", *(f"{paths[a]},{paths[b]},1" for a, b in pairs.mated)]
    lines += [f"{paths[a]},{paths[b]},0" for a, b in pairs.non_mated]
    (faces / "pairs.csv").write_text("\n".join(lines))
    again = read_pairs(faces / "pairs.csv", manifest)
    assert np.array_equal(again.mated, pairs.mated)
    assert np.array_equal(again.non_mated, pairs.non_mated)


def test_pairs_of_originals_hold_for_their_copies(tmp_path: Path) -> None:
    rows = [
        {"path": f"test/{name}-1.png", "original": f"test/{name}.png", "source": f"lfw/{name}.jpg"} for name in "abc"
    ]
    manifest = make_manifest(rows, tmp_path)
    (tmp_path / "p.csv").write_text("a,b,mated\nlfw/a.jpg,lfw/b.jpg,True\ntest/c.png,test/b-1.png,False\n")
    pairs = read_pairs(tmp_path / "p.csv", manifest)
    assert (pairs.mated.tolist(), pairs.non_mated.tolist()) == ([[0, 1]], [[2, 1]])


def text(name: str, content: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return write


CSV = "a,b,mated\n"
A, B = "P_0/P_0_0001.png", "P_0/P_0_0002.png"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (text("p.csv", f"{CSV}{A},{B},1\n"), "there is no non-mated comparison"),
        (text("p.csv", f"{CSV}{A},{B},0\n"), "there is no mated comparison"),
        (text("p.csv", CSV), "there is no mated comparison"),
        (text("p.csv", f"{CSV}{A},{B},perhaps\n"), "mated is 'perhaps' in pair 1, wanted 1 or 0"),
        (text("p.csv", f"x,b,mated\n{A},{B},1\n"), "no column 'a', only x, b, mated"),
        (text("p.csv", CSV + "".join(f"q{i}.png,{B},1\n" for i in range(7))), r"names 7 images .*q0.*q4.png, \.\.\."),
        (text("p.txt", "2 5\nP_0 1 2\n"), "has 1 pairs, its first line says 20"),
        (text("p.txt", ""), "not a pairs.txt"),
        (text("p.txt", "1\nP_0 1\nP_0 1 2\n"), "'P_0 1' has 2 fields"),
        (text("p.txt", "1\nP_0 1 9\nP_0 1 P_1 1\n"), "names 1 images .*P_0/P_0_0009"),
        (lambda folder: folder / "absent.txt", "no file at"),
    ],
)  # fmt: skip
def test_wrong_lists_of_pairs(make: Callable[[Path], Path], message: str, faces: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_pairs(make(faces), read_manifest(faces / "labels.csv"))


def test_sets_and_splits() -> None:
    rows = []
    for index in range(200):
        split = "test" if index % 2 else "train"
        damage = "blur=0.4" if index < 100 else "blur=0.3+noise=0.9"
        for copy, what in (("", ""), ("-1", damage), ("-m1", "landmarks=0.2")):
            rows.append(
                {"path": f"{index}{copy}.png", "identity": "a", "split": split, "original": f"{index}.png",
                 "degradation": what, "error": "no face" if index == 1 and not copy else ""}
            )  # fmt: skip
    manifest = make_manifest(rows, Path())
    sets = {name: set_rows(manifest, name, "test") for name in ("clean", "mixed", "harsh", "misaligned")}
    damage = {name: [rows[row]["degradation"] for row in chosen] for name, chosen in sets.items()}
    assert {len(sets[name]) for name in ("clean", "mixed", "harsh")} <= {99, 100}  # one could not be read
    assert len(sets["clean"]) == 99
    assert all(rows[row]["split"] == "test" for chosen in sets.values() for row in chosen)
    assert set(damage["clean"]) == {""}
    assert set(damage["misaligned"]) == {"landmarks=0.2"}
    assert 15 < damage["mixed"].count("blur=0.4") < 35
    assert set(damage["mixed"]) == {"", "blur=0.4"}  # harsher copies give way to their originals
    assert damage["harsh"].count("blur=0.4") == damage["mixed"].count("blur=0.4")
    assert 15 < damage["harsh"].count("blur=0.3+noise=0.9") < 35
    assert np.array_equal(sets["mixed"], set_rows(manifest, "mixed", "test"))
    undamaged = manifest.select([row for row in range(len(rows)) if not rows[row]["degradation"]])
    with pytest.raises(InputError, match="the set mixed needs damaged copies"):
        set_rows(undamaged, "mixed", None)
    aligned = manifest.select([row for row in range(len(rows)) if "landmarks" not in rows[row]["degradation"]])
    with pytest.raises(InputError, match=r"misaligned needs copies on wrong landmarks, .* --misaligned 1"):
        set_rows(aligned, "misaligned", None)
    with pytest.raises(InputError, match="unknown set 'hard'"):
        set_rows(manifest, "hard", None)
    with pytest.raises(InputError, match="no image of split 'validation'"):
        set_rows(manifest, "clean", "validation")


def test_embeddings_come_by_row_by_name_and_from_a_model(faces: Path, tmp_path: Path) -> None:
    manifest = read_manifest(faces / "labels.csv")
    rows = np.array([3, 5])
    vectors = np.load(faces / "e.npy")
    np.testing.assert_array_equal(EmbeddingSource(str(faces / "e.npy")).read(manifest, rows, tmp_path), vectors[rows])
    np.savez(faces / "e.npz", names=np.array(manifest.paths[::-1]), embeddings=vectors[::-1])
    np.testing.assert_array_equal(EmbeddingSource(str(faces / "e.npz")).read(manifest, rows, tmp_path), vectors[rows])
    save_network(tame_network("mobilefacenet128"), faces / "w.safetensors")
    embeddings = EmbeddingSource("mobilefacenet128", faces / "w.safetensors")
    made = embeddings.read(manifest, rows, tmp_path)
    assert made.shape == (2, 128)
    np.save(tmp_path / "embeddings.npy", np.ones((2, 128), np.float32))  # marked, to see when it is used again
    assert (embeddings.read(manifest, rows, tmp_path) == 1).all()
    np.testing.assert_array_equal(embeddings.read(manifest, rows[::-1].copy(), tmp_path), made[::-1])
    assert json.loads((tmp_path / "embeddings.json").read_text())["model"] == "mobilefacenet128"


def test_embeddings_of_an_onnx_file_are_made_again_for_another_file(faces: Path, tmp_path: Path) -> None:
    manifest, rows = read_manifest(faces / "labels.csv"), np.array([3, 5])
    judge, source = faces / "judge.onnx", EmbeddingSource(str(faces / "judge.onnx"))
    for size in (8, 9):
        judge.write_bytes(embedding_model(size=size).SerializeToString())
        assert source.read(manifest, rows, tmp_path).shape == (2, size)
    np.save(tmp_path / "embeddings.npy", np.ones((2, 9), np.float32))
    assert (source.read(manifest, rows, tmp_path) == 1).all()


def spoiled(change: Callable[[Path, Manifest], Any]) -> Callable[[Path], Any]:
    def call(folder: Path) -> Any:
        return change(folder, read_manifest(folder / "labels.csv"))

    return call


def evaluated(folder: Path, manifest: Manifest, name: str) -> Any:
    return EmbeddingSource(str(folder / name)).read(manifest, np.arange(len(manifest)), folder)


def nan_row(folder: Path, manifest: Manifest) -> Any:
    vectors = np.load(folder / "e.npy")
    vectors[[4, 9]] = np.nan
    np.save(folder / "e.npy", vectors)
    return evaluated(folder, manifest, "e.npy")


def half_of_the_names(folder: Path, manifest: Manifest) -> Any:
    np.savez(folder / "e.npz", names=np.array(manifest.paths[:12]), embeddings=np.ones((12, 4)))
    return evaluated(folder, manifest, "e.npz")


def nan_label(folder: Path, manifest: Manifest) -> Any:
    values = [None if row == 7 else 1.0 for row in range(30)]
    table = manifest.table.set_column(manifest.table.column_names.index("good"), "good", pa.array(values))
    return method_scores(Manifest(table, folder), ["poor", "good"], [], folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan_row, "2 of 30 images have no embedding in .*e.npy, first 'P_1/P_1_0002.png'"),
        (half_of_the_names, "18 of 30 images have no embedding in .*e.npz, first 'P_4/P_4_0001.png'"),
        (lambda folder, manifest: evaluated(folder, manifest.select(range(29)), "e.npy"), "30 rows and .* 29"),
        (lambda folder, manifest: evaluated(folder, manifest, "no.npz"), "no.npz cannot be read"),
        (nan_label, "1 of 30 images have no good, first 'P_2/P_2_0002.png'"),
        (
            lambda folder, manifest: method_scores(manifest, ["path"], [], folder),
            "'path' does not hold numbers: 'P_0/P_0_0001.png' in row 1",
        ),
        (
            lambda folder, manifest: method_scores(manifest, ["absent"], [], folder),
            "^the manifest has no column",
        ),
        (lambda folder, manifest: method_scores(manifest, [], [], folder), "no method to evaluate"),
    ],
)
def test_what_is_missing_is_named(change: Callable[[Path, Manifest], Any], message: str, faces: Path) -> None:
    with pytest.raises(InputError, match=message):
        spoiled(change)(faces)


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_command_with_pairs_columns_and_a_model(faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(faces / "labels.csv", "--pairs", pairs_txt(faces / "pairs.txt"), "--embeddings", faces / "e.npy", "--methods",
        "good,poor", "--models", "fiqa-nano", "--fmr", "0.2", "--fmr", "0.1", "--fmr", "0.001", "--bootstrap", "20",
        "--out", out)  # fmt: skip
    rows = read_table(out / "table.csv").to_pylist()
    methods = ["good", "poor", "fiqa-nano"]
    assert [(row["fmr"], row["method"]) for row in rows if row["method"]] == [
        (f, m) for f in (0.2, 0.1) for m in methods
    ]
    assert {row["judge"] for row in rows} == {"e.npy"}
    assert {row["comparisons"] for row in rows} == {"pairs.txt"}
    assert rows[-1]["note"] == "10 non-mated comparisons cannot show an FMR of 0.001, wanted 1000"
    assert all(row["mated"] == row["non_mated"] == 10 for row in rows)
    names = ["edc.png", "edc.svg", "histograms-clean.png", "histograms-clean.svg", "faces-clean.png"]
    assert all((out / name).stat().st_size > 1000 for name in names)
    assert cv2.imread(str(out / "faces-clean.png")).shape == (3 * 112, 12 * 112, 3)  # all 30 faces, 12 a row
    assert not list(out.glob("*.tmp"))
    scored = read_table(out / "scores.parquet")
    assert len(scored) == 30
    assert scored["fiqa-nano"].null_count == 0
    assert len(read_table(out / "correlations.csv")) == 3


def test_command_compares_the_images_that_are_named(faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--embeddings", faces / "e.npy", "--methods", "good,poor", "--fmr", "0.1", "--bootstrap", "20")
    run(faces / "labels.csv", *options, "--images", "*_000[12].png", "--out", out / "a")
    # Ten people with an image of each number: 10 mated pairs of numbers 1 and 2, and 20 * 18 / 2 non-mated ones.
    row = read_table(out / "a/table.csv").to_pylist()[0]
    assert (row["images"], row["mated"], row["non_mated"]) == (20, 10, 180)
    assert row["comparisons"].startswith("images *_000[12].png: all mated pairs")
    run(
        faces / "labels.csv",
        *options,
        "--images",
        "*1.png",
        "--against",
        "*3.png",
        "--rates",
        "0.5",
        "--out",
        out / "b",
    )
    row = read_table(out / "b/table.csv").to_pylist()[0]
    assert (row["images"], row["mated"], row["non_mated"]) == (20, 10, 90)
    assert row["pauc@0.5"] > 0
    output = run(faces / "labels.csv", *options, "--against", "*p_1*", "--out", out / "c", code=2)  # case matters
    assert "no image matches '*p_1*', wanted a pattern of the column 'path'" in output
    assert "such as 'P_0/P_0_0001.png'" in output
    pairs = ("--pairs", pairs_txt(faces / "pairs.txt"), "--images", "*1.png")
    assert "lists its pairs" in run(faces / "labels.csv", *options, *pairs, "--out", out / "d", code=2)


def test_test_people_are_compared_where_there_are_any(faces: Path, tmp_path: Path) -> None:
    manifest = read_manifest(faces / "labels.csv")
    splits = ["test" if name < "P_5" else "train" for name in manifest.identities]
    write_table(manifest.table.append_column("split", pa.array(splits)), faces / "split.csv")
    options = ("--embeddings", faces / "e.npy", "--methods", "good", "--fmr", "0.1", "--bootstrap", "20")
    for given, split, people in ((), "test", 5), (("--split", "train"), "train", 5), (("--split", "all"), "all", 10):
        run(faces / "split.csv", *options, *given, "--out", tmp_path / split)
        row = read_table(tmp_path / split / "table.csv").to_pylist()[0]
        assert (row["split"], row["identities"]) == (split, people)
    assert chosen_split(faces / "split.csv", faces / "pairs.txt", None) is None
    assert chosen_split(faces / "labels.csv", None, None) is None
    assert chosen_split(faces, None, None) is None


def test_copies_are_selected_by_the_name_of_their_original(tmp_path: Path) -> None:
    names = [
        f"cfp/{person}/{kind}_{index}.jpg" for person in range(6) for kind in ("frontal", "profile") for index in "12"
    ]
    rows = [
        {"path": f"{row}-{copy}.png", "original": f"{row}-.png", "identity": name.split("/")[1], "source": name,
         "degradation": copy and "blur=0.3"}
        for row, name in enumerate(names) for copy in ("", "1")
    ]  # fmt: skip
    write_table(pa.Table.from_pylist(rows), tmp_path / "m.csv")
    protocol = Protocol(tmp_path / "m.csv", selection=Selection("cfp/*/frontal_*", "cfp/*/profile_*"))
    manifest = read_manifest(tmp_path / "m.csv")
    for name in ("clean", "mixed"):
        chosen, pairs = pairs_of_set(manifest, protocol, name, EvaluationSettings())
        sources = np.array(names)[np.array(chosen) // 2]
        for found in (sources[pairs.mated], sources[pairs.non_mated]):
            assert all({"frontal" in a, "frontal" in b} == {True, False} for a, b in found)
        assert (len(pairs.mated), len(pairs.non_mated)) == (6 * 4, 12 * 10)
        assert (chosen % 2 == 1).any() == (name == "mixed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "good"), "wanted either --embeddings or"),
        (("--methods", "good", "--embeddings", "e.txt"), "'.txt', wanted .npy, .npz or .pkl"),
        (
            ("--methods", "good", "--embeddings", "e.npy", "--model", "mobilefacenet128"),
            "wanted either --embeddings or",
        ),
        (("--methods", "good", "--embeddings", "e.npy", "--fmr", "1e-4"), "cannot show an FMR of 0.0001, wanted 10000"),
        (("--methods", "good", "--embeddings", "e.npy", "--rates", "0.2,x"), "not a list of numbers"),
        (("--methods", "good", "--embeddings", "e.npy", "--sets", "mixed"), "needs damaged copies"),
    ],
)
def test_wrong_options(
    options: tuple[str, ...], message: str, faces: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(faces)
    assert message in run("labels.csv", *options, "--out", tmp_path / "out", code=2)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no image" in run(tmp_path / "empty", "--models", "fiqa-nano", "--embeddings", "e.npy", "--out",
                                   tmp_path / "out", code=2)  # fmt: skip


def test_pair_quality_and_edc_take_indices() -> None:
    quality = pair_quality(np.array([0.9, 0.1, 0.5]), np.array([[0, 1], [0, 2]]))
    np.testing.assert_array_equal(quality, [0.1, 0.5])
    np.testing.assert_array_equal(edc(quality, np.array([True, False])).fnmr, [0.5, 0])


def test_a_user_without_a_home_or_a_name(faces: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import pwd\n\ndef unknown(_):\n    raise KeyError(_)\n\npwd.getpwuid = pwd.getpwnam = unknown\n"
    )
    root = Path(__file__).parents[3]
    names = [name for name in os.environ if name in ("HOME", "USER", "LOGNAME", "LNAME") or name.startswith("XDG_")]
    environment = {name: value for name, value in os.environ.items() if name not in (*names, "MPLCONFIGDIR")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (hidden, root)))
    options = ["--methods", "good,poor", "--embeddings", "e.npy", "--fmr", "0.1", "--bootstrap", "10", "--out", "out"]
    done = subprocess.run(
        [sys.executable, "-m", "train.cli", "evaluate", "labels.csv", *options],
        cwd=faces, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "out"
    assert (faces / "out/table.csv").is_file()

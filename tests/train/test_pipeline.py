"""The whole road on a small, synthetic set: recipe in, weights and evaluation out; and the commands."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from safetensors import safe_open
from typer.testing import CliRunner

from sdk.errors import InputError, ModelError
from sdk.models.card import METADATA_KEY
from tests.support.tiny_models import embedding_model
from tests.support.weights import tame_network
from train.cli import app
from train.data.manifest import read_manifest, read_table
from train.methods.baselines import LightQNet
from train.networks import identify, read_state, save_network
from train.pipeline.peers import load_peers

RECIPE = """
network: fiqa-nano
card: {licence: Apache-2.0, summary: a test}
prepare: {source: people, landmarks: marks.npz, copies: 2, test: 0.5, validation: 0.3}
teacher: {model: mobilefacenet128, weights: teacher.safetensors}
faceqan: {copies: 1, iterations: 2}
ediffiqa: {label: faceqan, beta: 1.0, min_images: 1, epsilon: 0.0}
targets: {centre: product, weight: 1.0, leave_out: true, average: sharpness, scale: rank}
warm_up: {epochs: 2}
training: {epochs: 1, batch_size: 16, frozen_norm: true, ema: 0.9, flip: 0.5, schedule: one-cycle}
evaluate: {fmr: [0.1], repetitions: 20}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty people with two images each, landmarks, a teacher and a recipe."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    names = []
    for person in range(20):
        base = rng.integers(0, 256, (14, 14, 3))
        for index in range(2):
            path = folder / "people" / f"p{person}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = np.clip(base + rng.normal(0, 30, base.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(path), cv2.resize(image, (140, 140), interpolation=cv2.INTER_CUBIC))
            names.append(f"p{person}/{index}.png")
    points = np.array([(50.0, 60), (90, 60), (70, 80), (55, 102), (86, 102)])
    np.savez(folder / "marks.npz", names=np.array(names), landmarks=np.repeat(points[None], len(names), 0))
    save_network(tame_network("mobilefacenet128"), folder / "teacher.safetensors")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_recipe_from_images_to_evaluation(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run("recipe", data / "recipe.yaml", "--data", data, "--out", out)
    weights = out / "weights.safetensors"
    assert identify(read_state(weights)) == "fiqa-nano"
    with safe_open(weights, framework="pt") as file:
        card = json.loads(file.metadata()[METADATA_KEY])
    assert card["licence"] == "Apache-2.0"
    assert card["training_commit"]
    labels = read_table(out / "faces/labels.parquet")
    assert labels["faceqan"].null_count == 0
    assert labels["sharpness"].null_count == 0
    assert len(np.load(out / "embeddings.npy")) == len(labels)
    scores = read_manifest(out / "faces/scores.parquet")
    assert {"faceqan", "fiqa-nano", "sharpness", "target", "norm"} <= set(scores.table.column_names)
    assert {row["split"] for row in scores.table.to_pylist()} == {"test"}
    table = read_table(out / "evaluation/table.csv").to_pylist()
    assert {row["set"] for row in table} == {"clean", "mixed", "harsh"}
    assert [row["method"] for row in table[:5]] == ["fiqa-nano", "faceqan", "target", "sharpness", "norm"]
    assert {row["judge"] for row in table} == {"teacher"}
    assert all((out / "evaluation" / name).stat().st_size > 1000 for name in ("edc.png", "edc.svg", "faces-clean.png"))
    stamp = (out / "faces/labels.parquet").stat().st_mtime_ns
    (data / "judge.onnx").write_bytes(embedding_model().SerializeToString())
    plan = "peers: {models: {old: fiqa-nano}}\nevaluate: {fmr: [0.1], sets: [clean], judges: {other: judge.onnx}}\n"
    (tmp_path / "again.yaml").write_text(RECIPE[: RECIPE.index("evaluate")] + plan)
    run("recipe", tmp_path / "again.yaml", "--data", data, "--out", out)
    assert (out / "faces/labels.parquet").stat().st_mtime_ns == stamp
    table = read_table(out / "evaluation/other/table.csv").to_pylist()
    assert [row["method"] for row in table] == ["fiqa-nano", "faceqan", "target", "sharpness", "old", "norm"]
    assert len(np.load(out / "judges/other/embeddings.npy")) == len(read_table(out / "faces/scores.parquet"))
    (tmp_path / "other.yaml").write_text(RECIPE.replace("iterations: 2", "iterations: 3"))
    output = run("recipe", tmp_path / "other.yaml", "--data", data, "--out", out, code=2)
    assert "recipe.json is of a run with faceqan.iterations=2, this one has faceqan.iterations=3" in " ".join(
        output.split()
    )


def test_a_recipe_that_blends_labels(data: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load(RECIPE)
    for section in ("faceqan", "ediffiqa", "targets"):
        del recipe[section]
    outputs = [{"label": "centre", "weight": 0.6}, {"label": "sharpness", "within_person": True, "weight": 0.4}]
    outputs.append({"label": "norm", "weight": 0.2})
    recipe["blend"] = {"outputs": outputs}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    out = tmp_path / "run"
    run("recipe", tmp_path / "recipe.yaml", "--data", data, "--out", out)
    assert identify(read_state(out / "weights.safetensors")) == "fiqa-nano"
    labels = read_table(out / "faces/labels.parquet")
    wrong = [row == "mislabelled" for row in labels["split"].to_pylist()]
    assert [value is None for value in labels["centre"].to_pylist()] == wrong
    assert labels["sharpness"].null_count == 0
    norms = np.linalg.norm(np.load(out / "embeddings.npy"), axis=1)
    np.testing.assert_allclose(labels["norm"].to_numpy(), norms, rtol=1e-6)
    table = read_table(out / "evaluation/table.csv").to_pylist()
    assert [row["method"] for row in table[:5]] == ["fiqa-nano", "centre", "sharpness", "norm", "target"]
    (tmp_path / "unknown.yaml").write_text(yaml.safe_dump(recipe | {"blend": {"outputs": [{"label": "unheard"}]}}))
    output = run("recipe", tmp_path / "unknown.yaml", "--data", data, "--out", tmp_path / "other", code=2)
    assert "nothing makes the label 'unheard'" in " ".join(output.split())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{lightqnt: x}", "peers has 'lightqnt', wanted some of: lightqnet, detector, models"),
        ("{models: [fiqa-nano]}", "peers.models is .*, wanted a mapping"),
        ("{models: {norm: fiqa-nano}}", "the name 'norm', which another method has"),
        ("{models: {old: 3}}", "peers.models.old is 3, wanted text"),
    ],
)
def test_wrong_peers(section: str, message: str, data: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_peers(yaml.safe_load(section), data, "fiqa-nano")


def test_commands_one_by_one(data: Path, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    options = ("--landmarks", data / "marks.npz", "--copies", "1", "--validation", "0.3")
    run("prepare", data / "people", "--out", faces, *options)
    labels = faces / "labels.parquet"
    weights = ("--weights", data / "teacher.safetensors")
    run("label", "faceqan", faces / "manifest.csv", "--out", labels, *weights, "--k", "1", "-l", "1",
        "--embeddings", tmp_path / "e.npy")  # fmt: skip
    labels, first = faces / "more.parquet", labels
    assert "is an input" in run("label", "sharpness", first, "--out", first, code=2)
    run("label", "sharpness", first, "--out", labels)
    trained = tmp_path / "trained"
    (tmp_path / "r.yaml").write_text(
        "network: fiqa-nano\nediffiqa: {beta: 1.0, min_images: 1}\ntraining: {epochs: 1}\n"
    )
    fit = ("fit", "ediffiqa", tmp_path / "r.yaml", "--labels", labels, "--embeddings", tmp_path / "e.npy",
           "--backbone", data / "teacher.safetensors", "--out", trained)  # fmt: skip
    assert "no column 'absent'" in " ".join(run(*fit, "--label", "faceqan,absent", code=2).split())
    run(*fit, "--label", "faceqan,sharpness")
    assert identify(read_state(trained / "best.safetensors")) == "fiqa-nano"
    run("evaluate", labels, "--embeddings", tmp_path / "e.npy", "--methods", "faceqan,sharpness", "--out",
        tmp_path / "evaluation", "--fmr", "0.1", "--bootstrap", "20", "--split", "test")  # fmt: skip
    assert "| sharpness |" in (tmp_path / "evaluation/table.md").read_text()


def test_unreadable_images_have_their_own_exit_code(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"text")
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((112, 112, 3), np.uint8))
    assert "1 labelled, 1 failed" in run("label", "sharpness", tmp_path, "--out", tmp_path / "l.csv", code=3)
    assert r"\x1b[2J\u202e.csv: 1 labelled" in run(
        "label", "sharpness", tmp_path, "--out", tmp_path / "\x1b[2J\u202e.csv", code=3
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("recipe", "ediffiqa-t", "--data", ".", "--out", "x"), "no section 'prepare'"),
        (("recipe", "absent", "--data", ".", "--out", "x"), "no recipe 'absent'"),
        (("label", "faceqan", "nowhere", "--out", "l.csv"), "no file at nowhere"),
        (("label", "lightqnet", ".", "--out", "l.csv", "--weights", "no.pb"), "no LightQNet"),
        (("prepare", "nosuch.tar", "--out", "x"), "no file at nosuch.tar"),
        (("recipe", "fiqa-nano", "--data", "nosuchdir", "--out", "x"), "no file at nosuchdir/"),
    ],
)
def test_errors_reach_the_user(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("face.png", np.zeros((112, 112, 3), np.uint8))
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.split())


def test_lightqnet_without_a_file_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetched = []
    monkeypatch.setattr(
        "train.methods.baselines.fetch_model", lambda name: fetched.append(name) or tmp_path / "lightqnet-dm100.pb"
    )
    with pytest.raises(ModelError, match=r"no LightQNet at .*lightqnet-dm100\.pb"):
        LightQNet()
    assert fetched == ["lightqnet"]


@pytest.mark.parametrize("content", [b"", b"hello world, no graph\n", b"\x0a\x10\x0a\x05input", b"\x0a\x02\x08\x01"])
def test_a_file_that_is_no_lightqnet(content: bytes, crops: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.pb").write_bytes(content)
    output = run("label", "lightqnet", crops, "--out", tmp_path / "l.csv", "--weights", tmp_path / "wrong.pb", code=1)
    assert "truncated or no TensorFlow graph, wanted lightqnet-dm100.pb" in " ".join(output.split())
    assert not list(tmp_path.glob("l.csv*"))


COMMANDS = (
    ("prepare", "x", "--out", "y"),
    ("embed", "x", "--out", "y"),
    ("label", "sharpness", "x", "--out", "y"),
    ("fit", "diffiqa", "diffiqa", "x", "--out", "y"),
    ("fit", "ediffiqa", "ediffiqa-t", "--labels", "x", "--backbone", "x", "--out", "y"),
    ("evaluate", "x", "--out", "y"),
    ("evaluate-video", "x", "--out", "y"),
    ("recipe", "fiqa-nano", "--data", "x", "--out", "y"),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_a_base_install_says_what_to_install(arguments: tuple[str, ...]) -> None:
    heavy = ("accelerate", "filelock", "matplotlib", "pyarrow", "scipy", "sklearn", "torch", "yaml")
    code = f"import sys; sys.modules.update(dict.fromkeys({heavy})); from train.cli import app; app({list(arguments)})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 1
    assert re.fullmatch(r"error: \w+ is not installed; pip install 'fiqa\[train\]'\n", done.stderr)


def test_sections_of_recipes_are_checked(tmp_path: Path, data: Path) -> None:
    (tmp_path / "r.yaml").write_text("network: fiqa-nano\ntrainng: {}\n")
    output = run("recipe", tmp_path / "r.yaml", "--data", data, "--out", tmp_path / "x", code=2)
    assert "section 'trainng'" in output

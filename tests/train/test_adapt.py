"""fiqa-train adapt: the plan, the whole road on a small set, the report, and what is refused."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sdk import QualityScorer
from sdk.errors import InputError
from sdk.models.loading import load_model
from tests.support.tiny_models import embedding_model
from train.cli import app
from train.data.manifest import read_table
from train.networks import QualityNetwork, create_network, load_network
from train.pipeline import adapt as module
from train.pipeline.report import Verdict
from train.pipeline.start import packaged_backbone
from train.pipeline.teacher import Teacher
from train.recipes import read_recipe


def test_the_backbone_of_the_package_is_that_of_the_file(tmp_path: Path) -> None:
    path = packaged_backbone("fiqa-nano", tmp_path / "b.safetensors")
    network = create_network("fiqa-nano")
    assert isinstance(network, QualityNetwork)
    network.base_model.load_state_dict(load_network("mobilefacenet128", path).state_dict())
    graph = _initialisers()
    with torch.no_grad():
        for layer in ("l1", "l2"):
            for name in ("weight", "bias"):
                getattr(getattr(network.mlp, layer), name).copy_(graph[f"mlp.{layer}.{name}"])
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    images = torch.from_numpy(crops[..., ::-1].transpose(0, 3, 1, 2).copy()) / 255
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    with torch.inference_mode():
        found = network.eval()((images - mean.view(3, 1, 1)) / std.view(3, 1, 1))[:, 0].numpy()
    with QualityScorer() as scorer:
        np.testing.assert_allclose(found, scorer.score_batch(list(crops)), atol=1e-4)
    with pytest.raises(InputError, match="start is fiqa-nano, but the network is ediffiqa-t"):
        packaged_backbone("ediffiqa-t", tmp_path / "c.safetensors")


def _initialisers() -> dict[str, torch.Tensor]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(load_model("fiqa-nano").data).graph
    return {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty people with two photos each, their landmarks, and a face-recognition model."""
    rng, names = np.random.default_rng(0), []
    for person in range(20):
        base = rng.integers(0, 256, (14, 14, 3))
        for index in range(2):
            path = tmp_path / f"people/p{person}/{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = np.clip(base + rng.normal(0, 30, base.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(path), cv2.resize(image, (140, 140), interpolation=cv2.INTER_CUBIC))
            names.append(f"p{person}/{index}.png")
    points = np.array([(50.0, 60), (90, 60), (70, 80), (55, 102), (86, 102)])
    np.savez(tmp_path / "marks.npz", names=np.array(names), landmarks=np.repeat(points[None], len(names), 0))
    (tmp_path / "fr.onnx").write_bytes(embedding_model(1).SerializeToString())
    return tmp_path


def small_recipe(name: str) -> dict[str, Any]:
    """Return the recipe with less work, and an FMR that few people can show."""
    recipe = read_recipe(name)
    recipe["prepare"] |= {"copies": 1, "test": 0.5, "validation": 0.3}
    recipe["warm_up"]["epochs"] = recipe["training"]["epochs"] = 1
    recipe["training"]["precision"] = "no"  # one process trains in one precision
    recipe["evaluate"] = {"fmr": [0.1], "rates": [0.5], "sets": ["clean"], "repetitions": 20}
    return recipe


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["adapt", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_from_photos_to_a_model(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_recipe", small_recipe)
    out = data / "run"
    options = (data / "people", "--fr", data / "fr.onnx", "--landmarks", data / "marks.npz", "--out", out)
    text = run(*options, "--plan")
    assert "prepare" in text
    assert "40 photos, 80 crops" in text
    assert not (out / "model").exists()
    text = run(*options)
    (model,) = (out / "model").glob("*.onnx")
    scores = read_table(out / "faces/scores.parquet").to_pylist()
    with QualityScorer(model) as scorer:
        crops = [cv2.imread(str(out / "faces" / row["path"])) for row in scores]
        np.testing.assert_allclose(scorer.score_batch(crops), [row["adapted"] for row in scores], atol=1e-4)
    methods = [row["method"] for row in read_table(out / "evaluation/table.csv").to_pylist()]
    assert methods == ["adapted", "centre", "fiqa-nano", "target", "sharpness", "norm"]
    assert "no calibration:" in text  # these people are too few for an FMR of 0.001
    page = (out / "report.html").read_text()
    assert "A quality model for fr.onnx" in page
    assert "No calibration:" in page
    assert "<td>too few errors to tell</td>" in page
    assert "data:image/png;base64," in page
    stamps = [
        (out / name).stat().st_mtime_ns for name in ("faces/labels.parquet", "embeddings.npy", "evaluation/edc.png")
    ]
    assert "done" in run(*options)
    again = [
        (out / name).stat().st_mtime_ns for name in ("faces/labels.parquet", "embeddings.npy", "evaluation/edc.png")
    ]
    assert again == stamps
    (data / "other.onnx").write_bytes(embedding_model(1, size=9).SerializeToString())
    other = run(*options[:2], data / "other.onnx", *options[3:], code=2)
    assert "recipe.json is of a run with teacher.model=" in other


def test_faceqan_and_a_names_input_go_into_the_recipe(data: Path) -> None:
    given = module.given_input(mean=(0.1, 0.2, 0.3), std=None, colour="BGR", size=None)
    teacher = Teacher("iresnet18", data / "w.pth", given)
    recipe = module.Adaptation([module.Source(data / "people")], teacher, faceqan=True).recipe()
    assert recipe["teacher"] == {
        "model": "iresnet18", "weights": str(data / "w.pth"), "mean": [0.1, 0.2, 0.3], "colour": "BGR",
    }  # fmt: skip
    assert recipe["faceqan"] == {"copies": 1}
    assert recipe["blend"]["outputs"][-1]["label"] == "faceqan"
    assert Teacher.from_recipe(recipe["teacher"], Path()) == teacher
    json.dumps(recipe)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "teacher.model is None, wanted text"),
        (
            {"model": "a.onnx", "colours": "RGB"},
            "teacher has 'colours', wanted: model, weights, mean, std, colour, size",
        ),
    ],
)
def test_wrong_teachers(section: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Teacher.from_recipe(section, Path())


def test_photos_of_people_without_a_second_one_are_refused(tmp_path: Path) -> None:
    for person in range(3):
        (tmp_path / f"people/p{person}").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / f"people/p{person}/1.png"), np.zeros((112, 112, 3), np.uint8))
    model, out = tmp_path / "fr.onnx", tmp_path / "run"
    text = run(tmp_path / "people", "--fr", model, "--out", out, code=1)
    assert "fr.onnx cannot be read: No such file" in text  # the model comes first
    assert not out.exists()
    model.write_bytes(embedding_model(1).SerializeToString())
    text = run(tmp_path / "people", "--fr", model, "--out", out, code=2)
    assert "0 of 3 people have several photos, wanted 20 or more" in text


@pytest.mark.parametrize(
    ("errors", "share", "words"),
    [
        (29, 1.0, "too few errors to tell"), (30, 0.98, "better"), (30, 0.5, "no difference beyond chance"),
        (99, 0.01, "worse"), (99, None, "too few errors to tell"),
    ],
)  # fmt: skip
def test_verdicts(errors: int, share: float | None, words: str) -> None:
    verdict = Verdict("clean", "0.2", errors, 0.4, 0.5, share)
    assert verdict.words == words
    assert verdict.figures()[:3] == ["clean", "20%", str(errors)]
    assert (verdict.figures()[3] == "0.400") == (errors >= 30)

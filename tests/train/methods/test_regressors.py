"""DifFIQA(R), transfer learning and AI-KD: losses, recipes, whole runs on tiny data, and bad input."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from typer.testing import CliRunner

from sdk.errors import InputError, ModelError
from tests.support.device_waits import steps_without_waiting
from tests.support.weights import tame_network
from train.cli import app
from train.data.labelled import read_labelled
from train.data.manifest import make_manifest, read_manifest, read_table, write_table
from train.fitting.fit_regressor import fit_regressor
from train.fitting.quality import parameter_groups
from train.fitting.regressor import FitFiles, RegressorRecipe
from train.fitting.settings import Group
from train.fitting.warm_up import WarmUpSettings, warm_up_head
from train.labelling.embedder import embed_manifest
from train.labelling.network_scores import rescale
from train.methods.aikd import AIKD, losses
from train.methods.regression import Regression
from train.networks import QualityNetwork, create_network, identify, read_state, save_network
from train.networks.recognition import load_recognition_model
from train.recipes import read_recipe

POINTS = np.array([(50.0, 60), (90, 60), (70, 80), (55, 102), (86, 102)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve unaligned images with landmarks, labels and embeddings, and their teacher."""
    folder = tmp_path_factory.mktemp("regressors")
    rng = np.random.default_rng(0)
    rows = []
    for index in range(12):
        noise = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), cv2.resize(noise, (140, 150), interpolation=cv2.INTER_CUBIC))
        landmarks = (POINTS + rng.uniform(-2, 2, (5, 2))).ravel().tolist()
        rows.append({"path": f"{index}.png", "identity": str(index // 3), "landmarks": landmarks, "diffiqa": index / 7})
    write_table(make_manifest(rows, folder).table, folder / "labels.parquet")
    np.save(folder / "embeddings.npy", rng.standard_normal((12, 128)).astype(np.float32))
    save_network(tame_network("mobilefacenet128"), folder / "teacher.safetensors")
    return folder


def recipe(method: str, network: str = "fiqa-nano", **sections: object) -> RegressorRecipe:
    training = {"epochs": 1, "batch_size": 4, "frozen_norm": True}
    return RegressorRecipe.from_recipe({"network": network, method: {}, "training": training, **sections})


def files(folder: Path, labels: str = "labels.parquet", embeddings: str | None = "embeddings.npy") -> FitFiles:
    vectors = None if embeddings is None else folder / embeddings
    return FitFiles(folder / labels, folder / "teacher.safetensors", vectors)


def test_the_loss_of_ai_kd_by_hand() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    teacher = torch.tensor([[3.0, 0.0], [1.0, 0.0]])  # cosines 1 and 0
    terms = losses(features, torch.tensor([[0.6], [0.1]]), torch.tensor([0.3, 0.9]), teacher)
    assert float(terms.consistency) == pytest.approx(0.5)
    quadratic, linear = 0.5 * 0.3**2 / 0.5, 0.8 - 0.25
    assert float(terms.quality) == pytest.approx((quadratic + linear) / 2)
    assert float(terms.total) == pytest.approx(0.5 + (quadratic + linear) / 2)
    one = losses(features[:1], torch.tensor([[0.6]]), torch.tensor([0.3]), teacher[:1])
    assert float(one.total) == pytest.approx(quadratic)


def test_diffiqa_r_has_the_values_of_the_paper() -> None:
    found = RegressorRecipe.from_recipe(read_recipe("diffiqa-r"))
    training = found.training
    assert found.method == Regression("diffiqa", 0.1)
    assert found.targets.scale == "min-max"
    assert training.groups == (Group(1e-3), Group(1e-4, 100))
    assert (training.optimiser, training.epochs, training.batch_size, training.clip) == ("adam", 1, 128, 5.0)
    assert (training.precision, training.schedule, training.ema) == ("fp16", "constant", 0.0)
    with torch.device("meta"):
        network = create_network(found.network)
    assert isinstance(network, QualityNetwork)
    assert network.last_layer.weight.shape == (1, 512)
    assert network.last_layer is network.mlp


def test_transfer_has_the_values_of_the_paper() -> None:
    found = RegressorRecipe.from_recipe(read_recipe("transfer"))
    training = found.training
    assert found.method == Regression("faceqan-optimised", 0.05)
    assert (training.epochs, training.batch_size, training.clip, training.validations) == (1, 128, 5.0, 20)
    with torch.device("meta"):
        network = create_network(found.network)
    assert isinstance(network, QualityNetwork)
    backbone = list(network.base_model.parameters())
    groups = parameter_groups(network, training)
    assert [(group["lr"], group["weight_decay"], len(group["params"])) for group in groups] == [
        (1e-3, 1e-4, 2),
        (1e-3, 1e-5, 10),
        (1e-4, 1e-6, 40),
        (1e-5, 1e-6, 50),
    ]
    ordered = [id(parameter) for group in reversed(groups[1:]) for parameter in group["params"]]
    assert ordered == [id(parameter) for parameter in backbone[-100:]]
    assert not any(parameter.requires_grad for parameter in backbone[:-100])


def test_ai_kd_has_the_values_of_the_paper() -> None:
    found = RegressorRecipe.from_recipe(read_recipe("aikd"))
    training = found.training
    assert found.network == "ediffiqa-l"
    assert found.method == AIKD(label="diffiqa", validation=0.01, perturbation=3.0, scaled=False)
    assert training.groups == (Group(0.05, -1, 5e-4, 0.9), Group(0.05, 100, 0.0, 0.1))
    assert (training.optimiser, training.schedule, training.swa_lr, training.ema) == ("sgd", "swa", 0.05, 0.1)
    assert (training.epochs, training.batch_size, training.validations, training.clip) == (1, 64, 10, 5.0)
    assert (training.precision, training.loss_scale) == ("fp16", 128.0)


@pytest.mark.parametrize(("method", "network"), [("regression", "mobilefacenet128-linear"), ("aikd", "fiqa-nano")])
def test_a_run_by_the_command(method: str, network: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        f"network: {network}\n{method}: {{label: absent, validation: 0.2}}\n"
        "training: {epochs: 1, batch_size: 4, optimiser: sgd, groups: [{lr: 0.05, momentum: 0.9}, {lr: 0.05}],"
        " schedule: swa, validations: 3, ema: 0.1, frozen_norm: true}\n"
    )
    command = ["fit", method, tmp_path / "r.yaml", "--label", "diffiqa", "--labels", data / "labels.parquet"]
    command += ["--embeddings", data / "embeddings.npy", "--backbone", data / "teacher.safetensors", "--out", tmp_path]
    result = CliRunner().invoke(app, [str(argument) for argument in command])
    assert result.exit_code == 0, result.output
    assert identify(read_state(tmp_path / "best.safetensors")) == network
    trained = read_state(tmp_path / "last.safetensors")
    start = read_state(data / "teacher.safetensors")
    assert any(not torch.equal(value, trained[f"base_model.{key}"]) for key, value in start.items())


@pytest.mark.parametrize(
    ("method", "embeddings"),
    [("ediffiqa", "embeddings.npy"), ("regression", None), ("aikd", "embeddings.npy"), ("aikd", None), ("blend", None)],
)
def test_a_gpu_waits_for_nothing(
    method: str, embeddings: str | None, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, dict[str, object]] = {
        "ediffiqa": {"label": "diffiqa", "beta": 1.0, "min_images": 1},
        "blend": {"outputs": [{"label": "diffiqa"}]},
    }
    made = recipe(method, **{method: settings.get(method, {"label": "diffiqa"})})
    with steps_without_waiting(monkeypatch):
        fit_regressor(made, files(data, embeddings=embeddings), tmp_path)


def test_a_head_of_one_layer_can_be_put_on_a_scale() -> None:
    network = tame_network("mobilefacenet128-linear")
    assert isinstance(network, QualityNetwork)
    faces = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32))
    with torch.no_grad():
        before = network(faces)
        rescale(network, float(before.min()), float(before.max()))
        torch.testing.assert_close(network(faces).sort(0).values, torch.tensor([[0.0], [1.0]]), atol=1e-4, rtol=0)


def test_a_head_of_one_layer_is_not_warmed_up() -> None:
    network = tame_network("mobilefacenet128-linear")
    assert isinstance(network, QualityNetwork)
    with pytest.raises(InputError, match="one linear layer; leave warm_up out"):
        warm_up_head(network, np.ones((4, 128)), np.ones(4, np.float32), WarmUpSettings(epochs=1))


def relabelled(folder: Path, out: Path, values: list[float | None]) -> Path:
    table = read_table(folder / "labels.parquet").drop_columns(["diffiqa"])
    write_table(table.append_column("diffiqa", pa.array(values, pa.float64())), out)
    return out


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([None] * 12, "no row of 12 has a label of diffiqa"),
        ([0.5] * 12, "all 12 labels of diffiqa are 0.5, wanted labels that differ"),
    ],
)
def test_labels_that_teach_nothing(values: list[float | None], message: str, data: Path, tmp_path: Path) -> None:
    labels = relabelled(data, tmp_path / "labels.parquet", values)
    with pytest.raises(InputError, match=message):
        fit_regressor(recipe("regression"), FitFiles(labels, data / "teacher.safetensors"), tmp_path)


def test_rows_without_a_label_are_left_out(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = [None, float("nan"), *(index / 10 for index in range(10))]
    found = read_labelled(relabelled(data, tmp_path / "labels.parquet", values), "diffiqa")
    assert found.rows.tolist() == list(range(2, 12))
    assert found.labels.tolist() == values[2:]
    assert "2 images have no diffiqa label and are left out" in caplog.text


def test_missing_embeddings(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs the embeddings of the images; give --embeddings"):
        fit_regressor(recipe("ediffiqa", ediffiqa={"label": "diffiqa"}), files(data, embeddings=None), tmp_path)
    vectors = np.load(data / "embeddings.npy")
    vectors[4] = np.nan
    np.save(tmp_path / "holes.npy", vectors)
    holes = FitFiles(data / "labels.parquet", data / "teacher.safetensors", tmp_path / "holes.npy")
    with pytest.raises(InputError, match=r"1 labelled images have no embedding in .*, first '4.png'"):
        fit_regressor(recipe("aikd"), holes, tmp_path)
    np.save(tmp_path / "wide.npy", np.ones((12, 512), np.float32))
    wide = FitFiles(data / "labels.parquet", data / "teacher.safetensors", tmp_path / "wide.npy")
    with pytest.raises(InputError, match="512 values and fiqa-nano gives 128"):
        fit_regressor(recipe("aikd"), wide, tmp_path)
    np.save(tmp_path / "few.npy", vectors[:5])
    few = FitFiles(data / "labels.parquet", data / "teacher.safetensors", tmp_path / "few.npy")
    with pytest.raises(InputError, match=r"5 rows and .* 12, wanted equally many"):
        fit_regressor(recipe("aikd"), few, tmp_path)


def test_ai_kd_teaches_itself_as_its_embeddings_would(data: Path, tmp_path: Path) -> None:
    """Without embeddings the teacher looks at the faces in training: losses and weights are the same."""
    teacher = load_recognition_model("mobilefacenet128", data / "teacher.safetensors")
    vectors = embed_manifest(read_manifest(data / "labels.parquet"), teacher, tmp_path / "e.npy", device="cpu")
    given = FitFiles(data / "labels.parquet", data / "teacher.safetensors", tmp_path / "e.npy")
    assert np.isfinite(vectors).all()
    histories = []
    for out, inputs in (("given", given), ("itself", files(data, embeddings=None))):
        fit_regressor(recipe("aikd"), inputs, tmp_path / out)
        histories.append(json.loads((tmp_path / out / "history.json").read_text(encoding="utf-8")))
    (first,), (second,) = histories
    assert first["consistency"] > 1e-3
    assert second == pytest.approx(first, rel=1e-3, abs=1e-4)
    with pytest.raises(InputError, match="is of a run with other embeddings"):
        fit_regressor(recipe("aikd"), given, tmp_path / "itself")


def test_images_without_landmarks(data: Path, tmp_path: Path) -> None:
    table = read_table(data / "labels.parquet").drop_columns(["landmarks"])
    write_table(table, tmp_path / "labels.parquet")
    bare = FitFiles(tmp_path / "labels.parquet", data / "teacher.safetensors", data / "embeddings.npy")
    with pytest.raises(InputError, match=r"12 images have no landmarks, first '0.png'"):
        fit_regressor(recipe("aikd"), bare, tmp_path)


def test_a_checkpoint_of_another_variant(data: Path, tmp_path: Path) -> None:
    save_network(tame_network("fiqa-nano"), tmp_path / "other.safetensors")
    wrong = FitFiles(data / "labels.parquet", tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="The file is a checkpoint of fiqa-nano: use that name"):
        fit_regressor(recipe("regression"), wrong, tmp_path)
    with pytest.raises(InputError, match="mobilefacenet128 has no quality head"):
        fit_regressor(recipe("regression", "mobilefacenet128"), files(data), tmp_path)


def test_a_run_is_not_continued_on_other_labels(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fit_regressor(recipe("regression"), files(data), out)
    weights = (out / "last.safetensors").read_bytes()
    other = relabelled(data, tmp_path / "labels.parquet", [1 - index / 7 for index in range(12)])
    with pytest.raises(InputError, match=r"state\.pt is of a run with other labels; give another --out"):
        fit_regressor(recipe("regression"), FitFiles(other, data / "teacher.safetensors"), out)
    fewer = relabelled(data, tmp_path / "fewer.parquet", [None, *(index / 7 for index in range(1, 12))])
    with pytest.raises(InputError, match="is of a run with other images"):
        fit_regressor(recipe("regression"), FitFiles(fewer, data / "teacher.safetensors"), out)
    with pytest.raises(InputError, match=r"targets.scale='min-max', this one has targets.scale='rank'"):
        fit_regressor(recipe("regression", targets={"scale": "rank"}), files(data), out)
    with pytest.raises(InputError, match=r"with ediffiqa=nothing, this one has ediffiqa=\{"):
        fit_regressor(recipe("ediffiqa", ediffiqa={"min_images": 1, "beta": 1.0, "label": "diffiqa"}), files(data), out)
    assert (out / "last.safetensors").read_bytes() == weights


def test_a_run_is_not_continued_on_other_embeddings(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fit_regressor(recipe("aikd"), files(data), out)
    np.save(tmp_path / "embeddings.npy", np.load(data / "embeddings.npy")[::-1])
    other = FitFiles(data / "labels.parquet", data / "teacher.safetensors", tmp_path / "embeddings.npy")
    with pytest.raises(InputError, match="is of a run with other embeddings"):
        fit_regressor(recipe("aikd"), other, out)
    fit_regressor(recipe("regression"), files(data), tmp_path / "plain")  # which does not use them
    fit_regressor(recipe("regression"), FitFiles(other.labels, other.backbone), tmp_path / "plain")

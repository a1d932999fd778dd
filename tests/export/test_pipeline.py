"""From weights to a file: what is in it, what it scores, and that a failed check leaves nothing behind."""

import dataclasses
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from export.exported import Exported
from export.formats.table import export_format
from export.graph.front_end import add_front_end
from export.pipeline import export_model
from export.proof.runtimes import BATCHES
from export.sources.checkpoint import UNKNOWN_LICENCE, normalised
from sdk import ModelCard, ModelError, QualityScorer
from sdk.models.card import METADATA_KEY
from sdk.models.catalog import catalog
from tests.support.weights import tame_network
from train.networks import get_variant

SOURCES = {".safetensors": "fiqa-nano", ".pth": "ediffiqa-t", ".onnx": "ediffiqa-t"}


@pytest.mark.parametrize("source", SOURCES)
def test_scores_are_those_of_the_network(source: str, exported: dict[str, Exported], faces: NDArray[np.uint8]) -> None:
    name = SOURCES[source]
    variant = get_variant(name)
    others = np.random.default_rng(5).integers(0, 256, (5, 112, 112, 3), np.uint8)
    both = np.concatenate([faces, others])
    with torch.inference_mode():
        expected = tame_network(name)(torch.from_numpy(normalised(both, variant.mean, variant.std))).numpy().reshape(-1)
    assert np.ptp(expected) > 0.01
    with QualityScorer(exported[source].path, "cpu") as scorer:
        np.testing.assert_allclose(scorer.score_batch(both), expected, atol=1e-5)
    network = cv2.dnn.readNetFromONNX(str(exported[source].path))
    network.setInput(others)
    np.testing.assert_allclose(network.forward().reshape(-1), expected[-5:], atol=1e-5)


@pytest.mark.parametrize("source", SOURCES)
def test_form_of_the_file(source: str, exported: dict[str, Exported]) -> None:
    model = onnx.load(exported[source].path, load_external_data=False)
    assert model.ir_version == 9
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["faces"]
    assert [value.name for value in model.graph.output] == ["quality"]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert str(Path.cwd()).encode() not in exported[source].path.read_bytes()
    assert "Gather" not in {node.op_type for node in model.graph.node}
    # Nothing but weights: the file is as large as they are, and a little.
    weights = sum(parameter.numel() for parameter in tame_network(SOURCES[source]).parameters()) * 4
    assert exported[source].size < 1.05 * weights


@pytest.mark.parametrize("source", SOURCES)
def test_card_and_report_say_where_it_came_from(source: str, exported: dict[str, Exported], files: Path) -> None:
    result = exported[source]
    content = result.path.read_bytes()
    model = onnx.load_from_string(content)
    card = ModelCard.from_json({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
    assert card == result.card
    weights = next(file for file in files.iterdir() if file.suffix == source)
    assert card.source == weights.name
    assert card.source_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (card.name, card.variant, card.output, card.precision) == (
        SOURCES[source],
        SOURCES[source],
        "quality",
        "fp32",
    )
    assert (card.input.dtype, card.input.layout, card.input.colour) == ("uint8", "NHWC", "BGR")
    variant = get_variant(SOURCES[source])
    assert (card.input.mean, card.input.std) == (variant.mean, variant.std)
    assert card.licence == ("Apache-2.0" if source == ".safetensors" else UNKNOWN_LICENCE)
    places = {f"{runtime}, batch {batch}" for runtime in export_format("onnx").runtimes("fp32") for batch in BATCHES}
    assert set(card.verification) == places | {"mean", "shift", "spearman"}
    assert 0 < max(card.verification[place] for place in places) < 1e-5
    assert card.verification["spearman"] > 0.999
    report = json.loads(result.report.read_text())
    digest = hashlib.sha256(content).hexdigest()
    assert report["files"] == {result.path.name: {"bytes": len(content), "sha256": digest}}
    assert (result.size, result.sha256) == (len(content), digest)
    assert {place: found["count"] for place, found in report["agreement"].items()} == dict.fromkeys(places, 34)
    assert (report["faces"], report["tolerance"]) == ({"count": 34, "origin": "packaged"}, {"largest": 1e-4})
    assert report["pauc"] is None  # there were no people
    assert ModelCard.from_dict(report["card"]) == card
    assert ModelCard.from_json(result.path.with_suffix(".json").read_text()) == card
    endings = (".json", ".onnx", ".report.json")
    names = sorted(["NOTICE.txt", *(card.name + ending for ending in endings), "proof.npz"])
    assert sorted(file.name for file in result.path.parent.iterdir()) == names
    assert sorted(file.name for file in result.files) == names
    assert card.licence in (result.path.parent / "NOTICE.txt").read_text()


def test_a_checkpoint_says_what_it_was_trained_on(exported: dict[str, Exported]) -> None:
    card = exported[".safetensors"].card
    assert card.training_data == "none: random weights"
    assert card.score_range == (-1, 1)


def test_same_weights_give_the_same_bytes(exported: dict[str, Exported], files: Path, tmp_path: Path) -> None:
    again = export_model("ediffiqa-t", files / "tiny.onnx", tmp_path)
    assert again.sha256 == exported[".onnx"].sha256


def test_the_catalogue_knows_published_weights(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = catalog()["ediffiqa-t"]
    digest = hashlib.sha256((files / "tiny.onnx").read_bytes()).hexdigest()
    monkeypatch.setattr(
        "export.sources.source.catalog", lambda: {"ediffiqa-t": dataclasses.replace(entry, sha256=digest)}
    )
    card = export_model("ediffiqa-t", files / "tiny.onnx", tmp_path).card
    assert card.licence == "CC-BY-4.0"
    assert (card.source, card.attribution, card.paper) == (entry.card.source, entry.card.attribution, entry.card.paper)


@pytest.mark.parametrize(
    ("mistake", "mean", "std"),
    [("mean", (0.49, 0.5, 0.5), (0.5,) * 3), ("deviation", (0.5,) * 3, (0.5, 0.5, 0.51)), ("order", None, None)],
)
def test_a_wrong_front_end_is_found_and_nothing_is_written(
    mistake: str, mean: tuple[float, ...], std: tuple[float, ...], files: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if mistake == "order":
        monkeypatch.setattr("export.graph.front_end._fold_colour_order", lambda graph: True)
    else:
        monkeypatch.setattr("export.sources.checkpoint.add_front_end", lambda core, *_: add_front_end(core, mean, std))
    with pytest.raises(ModelError, match=r"largest difference .* allowed for fp32: 0\.0001. Nothing was written"):
        export_model("ediffiqa-t", files / "tiny.onnx", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []

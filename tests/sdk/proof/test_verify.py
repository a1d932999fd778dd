"""What a proof is, where its reference comes from, and what it writes."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from sdk import InputError
from sdk.commands.app import app
from sdk.models.card import ModelCard
from sdk.models.loading import openvino_digest, write_card_beside
from sdk.proof.verify import Agreement, Proof, compare_scores, find_failures, prove, record_proof, spearman
from sdk.scorer import QualityScorer
from tests.support.tiny_models import faces, tiny_card, tiny_model

GOOD = Agreement(100, 0.0, 0.0, 0.0, 1.0, True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve crops."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for index, face in enumerate(faces(12)):
        cv2.imwrite(str(folder / f"{index:02}.png"), face)
    return folder


def save(path: Path, change: float = 0.0, **card: Any) -> Path:
    """The tiny model, its scores moved by a change of its first weights."""
    model = tiny_model(tiny_card(**card))
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) + np.float32(change), "w1"))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 3, 2, 4], 0.8),
        ([1, 1, 2, 3], [1, 2, 2, 3], 5 / 6),  # equal values share their rank
        ([1, 1, 1], [1, 2, 3], 0.0),
    ],
)
def test_spearman(first: list[float], second: list[float], expected: float) -> None:
    assert spearman(np.array(first), np.array(second)) == pytest.approx(expected)


def test_compare_scores() -> None:
    found = compare_scores(np.array([0.1, 0.2, 0.4], np.float32), np.array([0.1, 0.3, 0.2], np.float32))
    assert (found.count, found.finite) == (3, True)
    assert (found.largest, found.mean, found.shift) == pytest.approx((0.2, 0.1, 0.1 / 3), abs=1e-6)
    assert found.spearman == pytest.approx(0.5)
    assert not compare_scores(np.array([0.1, np.nan], np.float32), np.zeros(2, np.float32)).finite
    with pytest.raises(InputError, match="at least two faces"):
        compare_scores(np.zeros(1, np.float32), np.zeros(1, np.float32))


@pytest.mark.parametrize(
    ("precision", "largest", "shift", "rank", "failing"),
    [
        ("fp32", 1e-4, 0.0, 1.0, ""),
        ("fp32", 1.1e-4, 0.0, 1.0, "largest difference"),
        ("fp16", 5e-3, 0.0, 0.5, ""),
        ("fp16", 5.1e-3, 0.0, 1.0, "largest difference"),
        ("int8", 0.5, -0.01, 0.99, ""),
        ("int8", 0.0, -0.011, 1.0, "mean shift"),
        ("int8+fp16", 0.0, 0.0, 0.989, "Spearman"),
        ("bf16", 0.0, 0.0, 0.989, "Spearman"),
    ],
)
def test_tolerances(precision: str, largest: float, shift: float, rank: float, failing: str) -> None:
    failures = find_failures(Agreement(100, largest, largest, shift, rank, True), precision)
    assert [failing] == [text[: len(failing)] for text in failures] if failing else failures == ()
    assert find_failures(Agreement(9, np.inf, np.inf, np.inf, -1, False), precision) == ("some scores are not finite",)
    with pytest.raises(InputError, match="unknown precision 'int4'"):
        find_failures(GOOD, "int4")


def test_a_source_is_given(tmp_path: Path, folder: Path) -> None:
    source = save(tmp_path / "source.onnx")
    proof = prove(save(tmp_path / "same.onnx"), source, folder, device="cpu")
    assert (proof.failures, proof.agreement.count, proof.reference) == ((), 12, str(source))
    far = prove(save(tmp_path / "far.onnx", 0.1), source, folder, device="cpu")
    assert far.agreement.largest > 1e-3
    assert far.failures[0].startswith("largest difference")
    with pytest.raises(InputError, match="is fp16, wanted fp32"):
        prove(source, save(tmp_path / "half.onnx", precision="fp16"), folder, device="cpu")


@pytest.mark.parametrize("name", ["tiny-fp16.onnx", "tiny_int8.onnx", "tiny-int8+fp16.onnx"])
def test_a_source_beside(name: str, tmp_path: Path, folder: Path) -> None:
    source = save(tmp_path / "tiny.onnx")
    assert prove(save(tmp_path / name, precision="fp16"), faces=folder, device="cpu").reference == str(source)
    source.unlink()
    with pytest.raises(InputError, match="give --against"):
        prove(tmp_path / name, faces=folder, device="cpu")


def test_a_proof_file_beside(tmp_path: Path) -> None:
    path = save(tmp_path / "tiny.onnx")
    scores = QualityScorer(path, "cpu").score_batch(faces(12))
    np.savez(tmp_path / "proof.npz", faces=faces(12), scores=scores, source="")
    assert prove(path, device="cpu").failures == ()
    np.savez(tmp_path / "proof.npz", faces=faces(12), scores=scores + 1, source="")
    assert prove(path, device="cpu").agreement.shift == pytest.approx(-1)
    for wrong in ({"faces": faces(12)}, {"faces": faces(12), "scores": scores[:3]}):
        np.savez(tmp_path / "proof.npz", source="", **wrong)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="export"):
            prove(path, device="cpu")
    np.savez(tmp_path / "proof.npz", faces=faces(12), scores=scores, source="0123456789abcdef")
    with pytest.raises(InputError, match=r"is of a source with SHA-256 0123456789ab"):
        prove(path, device="cpu")
    (tmp_path / "proof.npz").write_text("no zip file")
    with pytest.raises(InputError, match=r"damaged \.npz archive, or none.*export the model again"):
        prove(path, device="cpu")


def test_faces_that_prove_nothing(tmp_path: Path, folder: Path) -> None:
    path = save(tmp_path / "tiny.onnx")
    with pytest.raises(InputError, match="give --faces"):
        prove(path, path, device="cpu")
    for face in sorted(folder.iterdir())[7:]:
        face.unlink()
    with pytest.raises(InputError, match="holds 7 faces, wanted at least 8"):
        prove(path, path, folder, device="cpu")
    cv2.imwrite(str(folder / "large.png"), np.zeros((160, 160, 3), np.uint8))
    with pytest.raises(InputError, match="wanted aligned crops"):
        prove(path, path, folder, device="cpu")


def test_an_engines_card_is_marked(tmp_path: Path) -> None:
    """Stands for an engine: what is written does not depend on the file."""
    card = tiny_card(format="tensorrt", precision="fp16", proven=False, verification={"builder": 1.0})
    beside = tmp_path / "tiny.json"
    beside.write_text(card.to_json())
    found = Agreement(12, 0.002, 0.001, -0.0005, 0.999, True)
    failed = Proof(card, "tensorrt:0", "fp16", "source.onnx", found, ("Spearman",))
    assert record_proof(tmp_path / "tiny.engine", failed) is None
    assert not ModelCard.from_json(beside.read_text()).proven
    rough = Proof(card, "openvino", "bf16", "source.onnx", found, ())
    assert record_proof(tmp_path / "tiny.engine", rough) is None
    good = Proof(card, "tensorrt:0", "fp16", "source.onnx", found, ())
    assert record_proof(tmp_path / "tiny.engine", good) == beside
    written = ModelCard.from_json(beside.read_text())
    assert written.proven
    assert written.verification == {
        "builder": 1.0,
        "tensorrt:0": 0.002,
        "tensorrt:0_mean": 0.001,
        "tensorrt:0_shift": -0.0005,
        "tensorrt:0_spearman": 0.999,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.json"]


def test_command(tmp_path: Path, folder: Path) -> None:
    source, far = save(tmp_path / "source.onnx"), save(tmp_path / "far.onnx", 0.1)
    options = ["--against", str(source), "--faces", str(folder), "--device", "cpu"]
    for file, code, words in ((source, 0, "proven"), (far, 1, "NOT PROVEN: largest difference")):
        result = CliRunner().invoke(app, ["verify", str(file), *options])
        assert (result.exit_code, words in result.output) == (code, True)
    result = CliRunner().invoke(app, ["verify", str(far), "--faces", str(tmp_path / "none")])
    assert result.exit_code == 2


def test_unproven_ir_becomes_proven(tmp_path: Path, folder: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
    source = save(tmp_path / "tiny.onnx")
    openvino.save_model(openvino.Core().read_model(source), tmp_path / "tiny.xml", compress_to_fp16=False)
    digest = openvino_digest((tmp_path / "tiny.xml").read_bytes(), (tmp_path / "tiny.bin").read_bytes())
    card = tiny_card(format="openvino", proven=False, engine={"sha256": digest})
    write_card_beside(tmp_path / "tiny.xml", card)
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "tiny.xml"), "--faces", str(folder)])
    assert result.exit_code == 0
    assert json.loads((tmp_path / "tiny.json").read_text())["proven"]

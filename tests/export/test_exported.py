"""The folder that an export writes, and when it writes nothing."""

import dataclasses
import json
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

import export.engines.build
import export.graph.int8
import export.tasks.quality
from export.engines.build import build_engine_file
from export.exported import Exported
from export.graph.int8 import quantise
from export.pipeline import export_model
from export.settings import EngineOptions, ExportSettings
from sdk import InputError, ModelCard, ModelError, QualityScorer
from sdk.proof.verify import prove
from tests.support.exports import packaged
from train.lock import locked

INT8 = ExportSettings("onnx", "int8")


def test_int8_of_the_packaged_model(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = export_model("fiqa-nano", None, out, settings=INT8)
    assert sorted(path.name for path in out.iterdir()) == [
        "NOTICE.txt", "fiqa-nano-int8.calibration.json", "fiqa-nano-int8.json", "fiqa-nano-int8.onnx",
        "fiqa-nano-int8.report.json", "proof.npz",
    ]  # fmt: skip
    card = QualityScorer(result.path, "cpu").card
    own = QualityScorer("fiqa-nano", "cpu").card
    assert (card.precision, card.format, card.proven) == ("int8", "onnx", True)
    assert (card.licence, card.training_data, card.source_sha256) == (
        own.licence, own.training_data, own.source_sha256,
    )  # fmt: skip
    assert card == ModelCard.from_json((out / "fiqa-nano-int8.json").read_text()) == result.card
    summary = json.loads((out / "fiqa-nano-int8.calibration.json").read_text())
    assert (summary["method"], summary["faces"], summary["folder"]) == ("99.999", 58, "packaged")
    assert set(summary["ranges"]) >= {"normalised"}
    assert any("real faces are better" in note for note in result.notes)
    # `fiqa verify` finds faces and reference scores in the folder.
    proof = prove(result.path, device="cpu")
    assert (proof.failures, proof.reference, proof.agreement.count) == ((), str(out / "proof.npz"), 34)
    assert proof.agreement.spearman == pytest.approx(card.verification["spearman"], abs=1e-3)
    # A second precision joins it; the same one again has the same bytes.
    half = export_model("fiqa-nano", packaged(), out, settings=ExportSettings("onnx", "fp16"))
    assert prove(half.path, device="cpu").failures == ()
    content = result.path.read_bytes()
    assert sha256(content).hexdigest() == result.sha256
    for settings, first in ((INT8, content), (ExportSettings("onnx", "fp16"), half.path.read_bytes())):
        again = export_model("fiqa-nano", None, tmp_path / "again", settings=settings)
        assert again.path.read_bytes() == first


def test_a_failed_proof_writes_nothing_unless_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.graph.int8, "quantise", partial(quantise, method="60"))
    with pytest.raises(
        ModelError, match=r"Spearman .*, wanted for int8: at least 0\.99.*Nothing was written: give --calibration"
    ):
        export_model("fiqa-nano", None, tmp_path, settings=INT8)
    assert list(tmp_path.iterdir()) == []
    kept = export_model("fiqa-nano", None, tmp_path, settings=dataclasses.replace(INT8, keep_going=True))
    assert kept.failures
    assert not kept.card.proven
    report = json.loads(kept.report.read_text())
    assert (report["proven"], report["failures"]) == (False, list(kept.failures))


def test_one_export_at_a_time_and_one_network_a_folder(
    exported: dict[str, Exported], files: Path, tmp_path: Path
) -> None:
    with locked(tmp_path), pytest.raises(InputError, match="is being written by another run"):
        export_model("fiqa-nano", None, tmp_path)
    folder = exported[".pth"].path.parent
    before = sorted(folder.iterdir())
    with pytest.raises(InputError, match=r"holds an export of other weights .* give --out another folder"):
        export_model("fiqa-nano", None, folder)
    assert sorted(folder.iterdir()) == before


def test_an_output_that_is_an_input_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "fiqa-nano.onnx"
    weights.write_bytes(packaged().read_bytes())
    (tmp_path / "link").symlink_to(tmp_path)
    before = weights.read_bytes()
    for out in (tmp_path, tmp_path / "link"):
        with pytest.raises(InputError, match="is an input"):
            export_model("fiqa-nano", weights, out)
    settings = ExportSettings("tensorrt", timing_cache=weights)
    with pytest.raises(InputError, match=r"--timing-cache .* is an input"):
        export_model("fiqa-nano", weights, tmp_path / "out", settings=settings)
    with pytest.raises(InputError, match=r"--timing-cache .* is an input"):
        build_engine_file(weights, "tensorrt", None, EngineOptions((1,), timing_cache=weights))
    with pytest.raises(InputError, match="would be overwritten"):
        export_model("fiqa-nano", None, packaged().parent)
    detector = tmp_path / "fiqa-detector.onnx"
    detector.touch()
    with pytest.raises(InputError, match="is an input"):
        export_model("fiqa-detector", detector, tmp_path)
    assert weights.read_bytes() == before


@pytest.mark.parametrize("name", ["file", "file/below", "a\0b", "n" * 300])
def test_places_that_cannot_be(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError):
        export_model("fiqa-nano", None, tmp_path / name)
    with pytest.raises(InputError):
        build_engine_file(packaged(), "tensorrt", None, EngineOptions((1,)), tmp_path / name)

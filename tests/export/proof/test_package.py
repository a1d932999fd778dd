"""The folder that an export writes, for every format; and when it writes nothing."""

import dataclasses
import json
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import export.engines.build
import export.graph.int8
import export.tasks.quality
from export.cli import app
from export.engines.place import CannotBuildHereError
from export.engines.tensorrt import BuiltEngine
from export.exported import Exported
from export.graph.int8 import quantise
from export.pipeline import export_model
from export.proof.crops import calibration_faces
from export.proof.pauc_change import change_of_pauc
from export.settings import EngineOptions, ExportSettings
from export.sources.checkpoint import load_source
from sdk import InputError, ModelCard, ModelError, QualityScorer
from sdk.models.card import METADATA_KEY
from sdk.models.catalog import catalog
from sdk.proof.verify import compare_scores, prove
from train.lock import exclusive

INT8 = ExportSettings("onnx", "int8")


def fp32() -> Path:
    path = catalog()["fiqa-nano"].embedded
    assert path is not None
    return path


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
    half = export_model("fiqa-nano", fp32(), out, settings=ExportSettings("onnx", "fp16"))
    assert prove(half.path, device="cpu").failures == ()
    content = result.path.read_bytes()
    assert sha256(content).hexdigest() == result.sha256
    for settings, first in ((INT8, content), (ExportSettings("onnx", "fp16"), half.path.read_bytes())):
        again = export_model("fiqa-nano", None, tmp_path / "again", settings=settings)
        assert again.path.read_bytes() == first


def test_a_failed_proof_writes_nothing_unless_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.graph.int8, "quantise", partial(quantise, method="60"))
    with pytest.raises(ModelError, match=r"shift .* allowed for int8.*Nothing was written: give --calibration"):
        export_model("fiqa-nano", None, tmp_path, settings=INT8)
    assert list(tmp_path.iterdir()) == []
    kept = export_model("fiqa-nano", None, tmp_path, settings=dataclasses.replace(INT8, keep_going=True))
    assert kept.failures
    assert not kept.card.proven
    report = json.loads(kept.report.read_text())
    assert (report["proven"], report["failures"]) == (False, list(kept.failures))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_openvino(precision: str, tmp_path: Path, faces: NDArray[np.uint8]) -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    if precision == "int8":
        pytest.importorskip("nncf", reason="needs the extra openvino-export")
    result = export_model("fiqa-nano", None, tmp_path, settings=ExportSettings("openvino", precision, "openvino-cpu"))
    stem = "fiqa-nano-openvino" if precision == "fp32" else f"fiqa-nano-{precision}-openvino"
    assert {f"{stem}{suffix}" for suffix in (".xml", ".bin", ".json", ".report.json")} < {
        path.name for path in tmp_path.iterdir()
    }
    assert (tmp_path / f"{stem}.calibration.json").exists() == (precision == "int8")
    with QualityScorer(result.path, threads=1) as scorer, QualityScorer("fiqa-nano", "cpu") as source:
        assert (scorer.device, scorer.precision, scorer.card) == ("openvino", precision, result.card)
        apart = np.abs(scorer.score_batch(faces) - source.score_batch(faces)).max()
    assert apart < {"fp32": 1e-5, "fp16": 5e-3, "int8": 0.1}[precision]
    assert prove(result.path).failures == ()
    size = result.path.with_suffix(".bin").stat().st_size
    assert result.size == size + result.path.stat().st_size
    assert size < {"fp32": 5e6, "fp16": 2.5e6, "int8": 1.5e6}[precision]


def test_one_export_at_a_time_and_one_network_a_folder(
    exported: dict[str, Exported], files: Path, tmp_path: Path
) -> None:
    with exclusive(tmp_path), pytest.raises(InputError, match="is being written by another run"):
        export_model("fiqa-nano", None, tmp_path)
    folder = exported[".pth"].path.parent
    before = sorted(folder.iterdir())
    with pytest.raises(InputError, match=r"holds an export of other weights .* give --out another folder"):
        export_model("fiqa-nano", None, folder)
    assert sorted(folder.iterdir()) == before


def saved(path: Path, **changes: Any) -> Path:
    """The packaged model, with changes of its card, or a change of its graph by name."""
    model = onnx.load(fp32())
    card = json.loads(model.metadata_props[0].value)
    change = changes.pop("change", "")
    helper.set_model_props(model, {METADATA_KEY: json.dumps(card | changes)})
    if change == "operator":
        model.graph.node[-1].domain = "com.example"
    if change == "external":
        tensor = model.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "elsewhere.bin"
    if change == "input":
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ediffiqa-t", {}, "is an export of fiqa-nano: use that name, not ediffiqa-t"),
        ("fiqa-nano", {"precision": "int8"}, "is int8 already; export from the fp32 file"),
        ("fiqa-nano", {"change": "operator"}, "custom operator com.example"),
        ("fiqa-nano", {"change": "external"}, "weights in other files"),
        ("fiqa-nano", {"change": "input"}, r"input: \[\('faces', 1,"),
    ],
)
def test_exported_files_that_are_no_source(name: str, changes: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        load_source(name, saved(tmp_path / "file.onnx", **changes))


def test_an_engine_that_cannot_be_built_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def refuse(file: Path, format_name: str, target: Any, options: EngineOptions) -> None:
        asked.append((file.name, format_name, target.name, options))
        command = f"fiqa-export build {file.name} --target {target.name}"
        raise CannotBuildHereError("no TensorRT here; there, run", command)

    monkeypatch.setattr(export.engines.build, "build_engine_file", refuse)
    settings = ExportSettings("tensorrt", "fp16", "jetson-orin", batches=(1, 4), workspace_mib=64)
    result = export_model("fiqa-nano", None, tmp_path, settings=settings)
    assert asked == [("fiqa-nano-fp16.onnx", "tensorrt", "jetson-orin", EngineOptions((1, 4), 64, None))]
    assert (result.path, result.card.proven) == (tmp_path / "fiqa-nano-fp16.onnx", True)
    assert "no TensorRT here; there, run: fiqa-export build fiqa-nano-fp16.onnx" in result.notes[-1]


def test_an_engine_that_cannot_run_here_is_unproven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(
        model: bytes, card: ModelCard, format_name: str, target: Any, options: EngineOptions, command: str
    ) -> BuiltEngine:
        engine = {
            "sha256": sha256(b"engine").hexdigest(), "version": "1.7.1", "architectures": ["8.9"],
            "batches": options.batches, "target": target.name, "layers": {"fp16": 52}, "command": "build it",
        }  # fmt: skip
        return BuiltEngine(b"engine", dataclasses.replace(card, format=format_name, engine=engine, proven=False), ())

    monkeypatch.setattr(export.engines.build, "build_engine", build)
    settings = ExportSettings("tensorrt-rtx", "fp16", "rtx-40")
    result = export_model("fiqa-nano", None, tmp_path, settings=settings)
    assert result.path == tmp_path / "fiqa-nano-fp16-rtx-sm89.engine"
    assert result.path.read_bytes() == b"engine"
    assert {"fiqa-nano-fp16.onnx", "fiqa-nano-fp16.json", "proof.npz"} < {path.name for path in tmp_path.iterdir()}
    card = ModelCard.from_json(result.path.with_suffix(".json").read_text())
    assert (card.format, card.proven, card.verification, result.agreements) == ("tensorrt-rtx", False, {}, {})
    assert "fiqa verify fiqa-nano-fp16-rtx-sm89.engine" in result.notes[-1]
    assert set(json.loads(result.report.read_text())["files"]) == {"fiqa-nano-fp16.onnx", result.path.name}


def test_change_of_pauc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy", reason="needs the extra train")
    faces = calibration_faces()
    draw = np.random.default_rng(0)
    people = draw.standard_normal((len(faces) // 2, 64))
    noise = np.where(np.arange(len(faces)) % 8 < 2, 9.0, 0.1)[:, None]
    vectors = people.repeat(2, axis=0) + noise * draw.standard_normal((len(faces), 64))
    lines = ["path,identity"]
    for index, face in enumerate(faces):
        cv2.imwrite(str(tmp_path / f"{index:02}.png"), face)
        lines.append(f"{index:02}.png,person{index // 2}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    np.save(tmp_path / "vectors.npy", vectors.astype(np.float32))
    source = load_source("fiqa-nano")
    change = change_of_pauc(fp32(), source.reference, tmp_path / "manifest.csv", str(tmp_path / "vectors.npy"))
    # 29 people with two images each; every fourth has embeddings of noise.
    assert (change.images, change.comparisons, change.errors) == (58, 29, 8)
    assert change.before == pytest.approx(change.after)
    assert set(change.before) == {"pAUC@0.2", "pAUC@0.3"}
    worse = change_of_pauc(
        fp32(), lambda faces: -source.reference(faces), tmp_path / "manifest.csv", str(tmp_path / "vectors.npy")
    )
    assert worse.after == pytest.approx(change.after)
    assert worse.before != pytest.approx(change.before)
    settings = ExportSettings(evaluate=tmp_path / "manifest.csv", judge=str(tmp_path / "vectors.npy"))
    agreement = compare_scores(np.arange(9, dtype=np.float32), np.arange(9, dtype=np.float32))
    monkeypatch.setattr(export.tasks.quality, "compare", lambda *arguments: {"onnxruntime, batch 1": agreement})
    result = export_model("fiqa-nano", None, tmp_path / "out", settings=settings)
    assert result.change == change
    assert json.loads(result.report.read_text())["pauc"]["after"] == change.after


def test_inspect(exported: dict[str, Exported], tmp_path: Path) -> None:
    broken, custom = tmp_path / "broken.onnx", saved(tmp_path / "custom.onnx", change="operator")
    broken.write_bytes(b"no model")
    newer = onnx.load(fp32())
    newer.ir_version, newer.opset_import[0].version = 10, 21
    newer.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float16), "more"))
    onnx.save(newer, tmp_path / "newer.onnx")
    wide = {"COLUMNS": "400"}
    result = CliRunner().invoke(app, ["inspect", str(exported[".pth"].path), str(tmp_path / "newer.onnx")], env=wide)
    assert result.exit_code == 0
    rows = {row[1].strip(): [cell.strip() for cell in row[2:-1]] for row in
            (line.split("│") for line in result.stdout.splitlines()) if len(row) > 3}  # fmt: skip
    assert rows["model"] == ["ediffiqa-t", "fiqa-nano"]
    assert rows["inputs"] == ["faces: uint8 (batch, 112, 112, 3)"] * 2
    assert rows["outputs"] == ["quality: fp32 (batch, 1)"] * 2
    assert rows["opset, IR"] == ["20, 9", "21, 10"]
    assert "PRelu" in rows["operators"][0]
    assert rows["layers compute in"][1] == "53 fp32"
    assert "3 fp16" in rows["weights"][1]
    assert "rewrites PReLU" in rows["onnxruntime, CPU"][0]
    assert "onnxruntime 1.18 or newer (IR 10); JetPack 6 cannot read opset 21" in rows["onnxruntime, CPU"][1]
    assert rows["TensorRT 10, 11"][1] == "needs a parser for opset 21"
    result = CliRunner().invoke(app, ["inspect", str(broken), str(custom), str(tmp_path / "none.onnx")], env=wide)
    assert result.exit_code == 1
    for words in ("not an ONNX file", "custom operator com.example", "none.onnx cannot be read"):
        assert words in result.stdout

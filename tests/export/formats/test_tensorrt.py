"""Engines in an export: one that cannot be built here, and one that cannot run here."""

import dataclasses
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import export.engines.build
import export.graph.int8
import export.tasks.quality
from export.engines.place import CannotBuildHereError
from export.engines.tensorrt import BuiltEngine
from export.pipeline import export_model
from export.settings import EngineOptions, ExportSettings
from sdk import ModelCard


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

"""The change of pAUC by an export."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import export.engines.build
import export.graph.int8
import export.tasks.quality
from export.pipeline import export_model
from export.proof.crops import calibration_faces
from export.proof.pauc_change import change_of_pauc
from export.settings import ExportSettings
from export.sources.checkpoint import load_source
from sdk.proof.verify import compare_scores
from tests.support.exports import packaged


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
    change = change_of_pauc(packaged(), source.reference, tmp_path / "manifest.csv", str(tmp_path / "vectors.npy"))
    # 29 people with two images each; every fourth has embeddings of noise.
    assert (change.images, change.comparisons, change.errors) == (58, 29, 8)
    assert change.before == pytest.approx(change.after)
    assert set(change.before) == {"pAUC@0.2", "pAUC@0.3"}
    worse = change_of_pauc(
        packaged(), lambda faces: -source.reference(faces), tmp_path / "manifest.csv", str(tmp_path / "vectors.npy")
    )
    assert worse.after == pytest.approx(change.after)
    assert worse.before != pytest.approx(change.before)
    settings = ExportSettings(evaluate=tmp_path / "manifest.csv", judge=str(tmp_path / "vectors.npy"))
    agreement = compare_scores(np.arange(9, dtype=np.float32), np.arange(9, dtype=np.float32))
    monkeypatch.setattr(export.tasks.quality, "compare", lambda *arguments: {"onnxruntime, batch 1": agreement})
    result = export_model("fiqa-nano", None, tmp_path / "out", settings=settings)
    assert result.change == change
    assert json.loads(result.report.read_text())["pauc"]["after"] == change.after

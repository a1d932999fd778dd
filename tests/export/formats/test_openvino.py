"""OpenVINO IR, exported and scored."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.pipeline import export_model
from export.settings import ExportSettings
from sdk import QualityScorer
from sdk.proof.verify import prove


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

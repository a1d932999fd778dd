"""What `fiqa-export inspect` says of files."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from typer.testing import CliRunner

from export.cli import app
from export.exported import Exported
from tests.support.exports import packaged, save_changed


def test_inspect(exported: dict[str, Exported], tmp_path: Path) -> None:
    broken, custom = tmp_path / "broken.onnx", save_changed(tmp_path / "custom.onnx", change="operator")
    broken.write_bytes(b"no model")
    newer = onnx.load(packaged())
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
    assert rows["layers compute in"][1] == "52 fp32"
    assert "3 fp16" in rows["weights"][1]
    assert "rewrites PReLU" in rows["onnxruntime, CPU"][0]
    assert "onnxruntime 1.18 or newer (IR 10); JetPack 6 cannot read opset 21" in rows["onnxruntime, CPU"][1]
    assert rows["TensorRT 10, 11"][1] == "needs a parser for opset 21"
    result = CliRunner().invoke(app, ["inspect", str(broken), str(custom), str(tmp_path / "none.onnx")], env=wide)
    assert result.exit_code == 1
    for words in ("not an ONNX file", "custom operator com.example", "none.onnx cannot be read"):
        assert words in result.stdout

"""`fiqa-export build`: engine and card on disk."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.cli import app
from sdk import DeviceError, ModelError, QualityScorer
from sdk.models.loading import load_model


def test_the_command_writes_engine_and_card(graphs: dict[tuple[str, str], bytes], rtx: str, tmp_path: Path) -> None:
    file = tmp_path / "nano.onnx"
    file.write_bytes(graphs["fiqa-nano", "fp16"])
    result = CliRunner().invoke(app, ["build", str(file), "--format", "tensorrt-rtx", "--target", "rtx-40"])
    assert result.exit_code == 0, result.output
    path = tmp_path / "nano-rtx-sm89.engine"
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.suffix) == [
        "nano-rtx-sm89.engine", "nano-rtx-sm89.json", "nano.onnx",
    ]  # fmt: skip
    assert f"{path.stat().st_size:,} bytes" in result.stdout
    assert "it is unproven" in result.stdout
    card = load_model(path).card
    assert card.engine.command == "fiqa-export build nano.onnx --format tensorrt-rtx --target rtx-40 --batch 1,8,32"
    assert card.name == "fiqa-nano"
    with pytest.raises(DeviceError):  # no CUDA, or no such GPU
        QualityScorer(path, "cuda:99")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"damaged, altered, or of another build; .*fiqa-export build nano"):
        QualityScorer(path)

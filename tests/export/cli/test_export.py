"""fiqa-export: what it prints, and what it returns."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.cli import app
from export.exported import Exported
from export.settings import ExportSettings
from export.targets import targets
from sdk.models.formats import FORMATS


def run(*arguments: object, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_numbers_are_printed(exported: dict[str, Exported], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = exported[".pth"]
    asked: list[object] = []
    monkeypatch.setattr("export.pipeline.export_model", lambda *arguments: asked.append(arguments) or result)
    out, _ = run("--model", "ediffiqa-t", "--weights", "w.pth", "--out", tmp_path)
    assert asked == [("ediffiqa-t", Path("w.pth"), tmp_path, None, ExportSettings())]
    for place, found in result.agreements.items():
        assert place in out
        assert f"{found.largest:.1e}" in out
    assert result.sha256 in out


@pytest.mark.parametrize(
    ("model", "weights", "code", "message"),
    [
        ("ediffiqa-x", None, 2, "wanted one of: fiqa-nano, ediffiqa-t"),
        ("ediffiqa-t", "missing.pth", 1, "missing.pth cannot be read: No such file"),
        ("ediffiqa-t", "nano.safetensors", 1, "checkpoint of fiqa-nano: use that name"),
        ("ediffiqa-t", "garbage.pth", 1, "garbage.pth"),
        ("ediffiqa-t", "garbage.onnx", 1, "garbage.onnx"),
        ("ediffiqa-s", None, 1, "FIQA_OFFLINE forbids the network"),
    ],
)
def test_errors_write_nothing(
    model: str, weights: str | None, code: int, message: str, files: Path, tmp_path: Path
) -> None:
    (tmp_path / "garbage.pth").write_bytes(b"garbage")
    (tmp_path / "garbage.onnx").write_bytes(b"garbage")
    arguments: list[object] = ["--model", model, "--out", tmp_path / "out"]
    if weights is not None:
        arguments += ["--weights", next((f for f in files.iterdir() if f.name == weights), tmp_path / weights)]
    _, err = run(*arguments, code=code)
    assert message in " ".join(err.replace("│", "").split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["onnx", "torch"])
def test_without_the_extra(package: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from export.cli import app; app()"
    command = [sys.executable, "-c", code, "--model", "fiqa-nano", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{package} is not installed; pip install 'fiqa[export]'" in done.stderr


def test_commands() -> None:
    wide = {"COLUMNS": "250"}
    shown = CliRunner().invoke(app, ["formats"], env=wide)
    assert shown.exit_code == 0
    for name in (*FORMATS, *targets()):
        assert name in shown.stdout
    wrong = CliRunner().invoke(app, ["--model", "fiqa-nano", "--batch", "1,8"], env=wide)
    assert wrong.exit_code == 2
    assert "--batch is not for --format onnx" in wrong.stderr
    for options, words in (
        (["--model", "fiqa-nano", "--format", "tensorrt", "--batch", "no"], "--batch is 'no'"),
        ([], "--model"),
    ):
        wrong = CliRunner().invoke(app, options, env=wide)
        assert (wrong.exit_code, words in wrong.stderr) == (2, True)


def test_a_device_needs_neither_torch_nor_onnx(tmp_path: Path) -> None:
    (tmp_path / "file.onnx").write_bytes(b"no model")
    code = "import sys; sys.modules.update(onnx=None, torch=None); from export.cli import app; app()"
    for words, status in ((["formats"], 0), (["--licence"], 0), (["build", "file.onnx", "--format", "tensorrt"], 1)):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == status, done.stderr
        assert "not installed" not in done.stderr
    assert "not an ONNX file" in done.stderr

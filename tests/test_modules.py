"""Every module imports, every command explains itself, and the base install stays small."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
PACKAGES = ("fiqa", "sdk", "export", "train")
COMMANDS = {"fiqa": "sdk.commands.app", "fiqa-export": "export.cli", "fiqa-train": "train.cli"}


def modules() -> list[str]:
    """Dotted name of every module of the three packages."""
    files = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]


@pytest.mark.parametrize("name", modules())
def test_module_imports_and_says_what_it_is(name: str) -> None:
    if name == "train.networks.depthwise_gpu.kernels":
        pytest.importorskip("triton")  # which torch brings on Linux with CUDA alone
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip()


def words() -> list[tuple[str, list[str]]]:
    """Module of the application and the words of every command and group of commands."""
    found: list[tuple[str, list[str]]] = []
    todo = [(module, typer.main.get_command(importlib.import_module(module).app), []) for module in COMMANDS.values()]
    while todo:
        module, command, before = todo.pop()
        found.append((module, before))
        todo += [(module, below, [*before, name]) for name, below in getattr(command, "commands", {}).items()]
    return found


@pytest.mark.parametrize(("module", "arguments"), words(), ids=str)
def test_help_of_every_command(module: str, arguments: list[str]) -> None:
    app = importlib.import_module(module).app
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_installed(command: str) -> None:
    done = subprocess.run([Path(sys.executable).with_name(command), "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_command_line_of_the_sdk_needs_the_base_install_only() -> None:
    heavy = ("torch", "onnx", "onnxscript", "pyarrow", "scipy", "matplotlib", "PIL", "export", "train")
    code = f"import sys, sdk.commands.app; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

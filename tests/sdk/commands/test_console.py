"""What is printed: letter by letter, on any console, and never a traceback for what users do."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import typer
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from export.cli import app as export_app
from sdk.commands.app import _quieten_opencv, app
from sdk.commands.console import PlainFormatter, cell, error_exits, missing_packages, print_plain
from sdk.errors import FiqaError
from train.cli import app as train_app

HOSTILE = "a[bold]x[/nope] :warning: \x1b[2J\x1b]0;t\x07\nwrote all.csv\n\u202egpj"
SHOWN = r"a[bold]x[/nope] :warning: \x1b[2J\x1b]0;t\x07\nwrote all.csv\n\u202egpj"


def test_a_line_is_one_line_letter_by_letter() -> None:
    console = Console(file=io.StringIO(), width=10, force_terminal=True, color_system=None)
    print_plain(console, HOSTILE, "red")
    assert console.file.getvalue() == SHOWN + "\n"


@pytest.mark.parametrize("width", [1, 12, 80])
def test_a_cell_shows_every_letter(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    table = Table("", show_header=False, box=None, padding=0)
    table.add_row(cell(HOSTILE))
    console.print(table)
    shown = console.file.getvalue()
    assert "".join(shown.split()) == "".join(SHOWN.split())
    assert "\x1b" not in shown


def test_a_log_record_is_one_line_and_its_traceback_plain() -> None:
    formatter = PlainFormatter("%(levelname)s %(message)s")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "p", 1, "bad: %s", (HOSTILE,), sys.exc_info())
    first, *rest = formatter.format(record).split("\n")
    assert first == f"ERROR bad: {SHOWN}"
    assert len(rest) > 2
    assert all(line.isprintable() for line in rest)


@pytest.mark.parametrize(
    ("group", "arguments"),
    [
        (app, ["na\x1b[2Jme"]),
        (app, ["score", "x.jpg", "--no\x1b[2Jne"]),
        (app, ["score", "x\x1b[2J\n.jpg"]),
        (app, ["models", "show", "x\x1b[2J"]),
        (app, ["models", "no\x1b[2J"]),
        (app, ["verify", "x\x1b[2J.onnx"]),
        (app, ["bench", "x\x1b[2J.onnx"]),
        (export_app, ["inspect", "x\x1b[2J.onnx"]),
        (export_app, ["--model", "x\x1b[2J"]),
        (train_app, ["no\x1b[2Jne"]),
        (train_app, ["prepare", "x\x1b[2J", "--out", "o"]),
    ],
)
def test_errors_quote_what_was_typed_harmlessly(
    group: typer.Typer, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(group, arguments)
    assert result.exit_code in (1, 2)
    assert "\x1b" not in result.output
    assert r"\x1b[2J" in "".join(result.output.split())


@pytest.mark.parametrize(
    ("error", "code", "said"), [(KeyboardInterrupt(), 130, "stopped\n"), (BrokenPipeError(), 141, "")]
)
def test_exits_without_a_traceback(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.commands.console.drop_output", lambda: None)
    with pytest.raises(typer.Exit) as exit_, error_exits():
        raise error
    assert exit_.value.exit_code == code
    assert capsys.readouterr().err == said


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), error_exits():
        _ = 1 // 0


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
@pytest.mark.parametrize(
    ("shell", "lines"),
    [
        ('"$@" | head -2; exit ${PIPESTATUS[0]}', 2),
        ('PYTHONIOENCODING=ascii LC_ALL=C COLUMNS=1 TERM= "$@"', None),
        ('"$@" >&-', 0),
        ('"$@" 2>&-', None),
        ('"$@" <&- >&- 2>&-', 0),
    ],
)
@pytest.mark.parametrize("command", [("models", "list"), ("models", "show", "fiqa-detector")])
def test_any_console_will_do(shell: str, lines: int | None, command: tuple[str, ...]) -> None:
    program = [sys.executable, "-c", "from sdk.commands.app import app; app()", *command]
    done = subprocess.run(["bash", "-c", shell, "bash", *program], capture_output=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0 or ("head" in shell and done.returncode in (1, 141)), done.stderr
    assert b"Traceback" not in done.stderr
    if lines is None:
        assert len(done.stdout.splitlines()) > 5
    else:
        assert len(done.stdout.splitlines()) <= lines


@pytest.mark.parametrize("old", [True, False])
def test_opencv_is_silenced_under_both_of_its_names(old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to OpenCV 4.12 the function is `cv2.setLogLevel`, from 4.13 on `cv2.utils.logging.setLogLevel`."""
    levels: list[int] = []
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    if old:
        monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
        monkeypatch.delattr(cv2.utils, "logging", raising=False)
    else:
        monkeypatch.delattr(cv2, "setLogLevel", raising=False)
        monkeypatch.setattr(cv2.utils, "logging", SimpleNamespace(setLogLevel=levels.append), raising=False)
    _quieten_opencv()
    assert levels == [0]


@pytest.mark.parametrize(
    ("package", "advice"),
    [
        ("torch.nn", "torch is not installed; pip install 'fiqa[train]'"),
        ("onnxruntime", "onnxruntime is not installed; pip install 'fiqa[cpu]', or 'fiqa[gpu]' for a GPU of NVIDIA"),
    ],
)
def test_advice_for_a_missing_package(package: str, advice: str) -> None:
    with pytest.raises(FiqaError) as caught, missing_packages("train"):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    assert str(caught.value) == advice


@pytest.mark.parametrize("name", [None, "sdk.gone", "train"])
def test_a_missing_module_of_ones_own_is_a_bug(name: str | None) -> None:
    with pytest.raises(ModuleNotFoundError), missing_packages("train"):
        raise ModuleNotFoundError("no such module", name=name)

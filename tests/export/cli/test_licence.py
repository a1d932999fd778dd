"""fiqa-export --licence and --version: nothing is exported."""

from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.cli import app
from export.licence import CODE, licence_of
from export.networks import NETWORKS
from sdk.models.catalog import catalog


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "250"})
    assert result.exit_code == code, result.output
    return result.stdout + result.stderr


def test_version() -> None:
    assert run("--version") == f"fiqa {version('fiqa')}\n"


def test_all_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = run("--licence").splitlines()
    for name in ("fiqa", *catalog()):
        (row,) = [line for line in lines if line.startswith(f"│ {name} ")]
        found = CODE if name == "fiqa" else licence_of(name)
        assert [cell.strip() for cell in row.strip("│").split("│")] == [name, found.ship, found.licence, found.reason]
    assert list(tmp_path.iterdir()) == []


def test_one_model() -> None:
    text = run("--license", "--model", "fiqa-nano")
    assert "training data: Labeled Faces in the Wild" in text  # of the file's own card
    assert "attribution: Trained by the fiqa project" in text
    assert "May I ship it? ask. Apache-2.0 allows it." in text
    assert "May I ship it? yes. Apache-2.0 allows it if you pass on LICENSE and NOTICE." in text
    assert "training data: not stated" in run("--licence", "--model", "ediffiqa-t")
    assert "wanted one of: fiqa-nano" in run("--licence", "--model", "nobody", code=2)


def test_every_model_has_an_answer() -> None:
    for name in (*catalog(), *NETWORKS):
        found = licence_of(name)
        assert found.ship in ("yes", "no", "ask")
        assert found.reason.endswith(".")
    assert not [name for name, entry in catalog().items() if entry.ship_reason.startswith("Nobody")]
    answers = [licence_of(name).ship for name in ("ediffiqa-s", "yunet", "iresnet18-linear")]
    assert answers == ["no", "ask", "ask"]

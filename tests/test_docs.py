"""README and docs: every fenced block after a line `<!-- test -->` runs as it is written; the reference is complete."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sdk

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^<!-- test -->\n+```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [(page, *found) for page in PAGES for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_quick_start_is_run(page: str) -> None:
    assert [block for block in BLOCKS if block[0] == ROOT / page]


def test_reference_has_every_public_name() -> None:
    page = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: sdk\.(\w+)$", page, re.MULTILINE)) == sorted({*sdk.__all__} - {"__version__"})


@pytest.mark.parametrize(("language", "text"), [pytest.param(*each, id=page.name) for page, *each in BLOCKS])
def test_block(language: str, text: str, tmp_path: Path) -> None:
    """In a folder that has the project's examples, with the commands of this environment, and offline."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "FIQA_OFFLINE": "1", "FIQA_CACHE": str(tmp_path / "cache")}
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"

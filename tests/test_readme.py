"""README's commands run as they are written: every fenced block that follows a line `<!-- test -->`.

One that follows `<!-- test: needs YuNet -->` is skipped where the detector is not in `FIQA_MODELS`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sdk.models.catalog import find_entry

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^<!-- test(: needs YuNet)? -->\n+```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))


def test_readme_has_commands_that_are_run() -> None:
    assert {language for _, language, _ in BLOCKS} == {"bash", "python"}


@pytest.mark.parametrize(("detects", "language", "text"), BLOCKS)
def test_block(detects: str, language: str, text: str, tmp_path: Path) -> None:
    """In a folder that has the project's examples, with the commands of this environment, and offline."""
    models = os.environ.get("FIQA_MODELS")
    yunet = [find_entry(name).file for name in ("yunet", "yunet-2026may")]
    if detects and not (models and any((Path(models) / file).is_file() for file in yunet)):
        pytest.skip(f"needs {' or '.join(yunet)} in FIQA_MODELS")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "FIQA_OFFLINE": "1", "FIQA_CACHE": str(tmp_path / "cache")}
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"

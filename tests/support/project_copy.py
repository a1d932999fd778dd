"""A copy of the project, to which tests add what CONTRIBUTING.md tells a contributor to add."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.contributing import ROOT, write_example

ENTRY = re.compile(r"^<!-- entry -->\n+```\w*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE = Path("sdk/models/formats.py")


class ProjectCopy:
    """The packages of the project in another folder, with the example of a section of CONTRIBUTING.md.

    Args:
        folder: Where it goes.
        heading: The section. Its files are written, and its entry goes into the table of formats.
        after: Line of the table after which the entry goes.
    """

    def __init__(self, folder: Path, heading: str, after: str) -> None:
        self.folder = folder
        for name in ("sdk", "export", "train"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        write_example(heading, folder)
        text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        (entry,) = ENTRY.findall(text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0])
        table = (folder / TABLE).read_text(encoding="utf-8")
        assert table.count(after) == 1, f"{TABLE} has {table.count(after)} lines {after!r}"
        (folder / TABLE).write_text(table.replace(after, after + entry), encoding="utf-8")

    def run(self, code: str, *arguments: object, status: int = 0) -> str:
        """Run Python code in the copy; return what it prints."""
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "FIQA_OFFLINE": "1", "FIQA_CACHE": str(self.folder / "cache"), "COLUMNS": "200"},
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

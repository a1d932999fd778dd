"""A service in this process, and one behind a real socket."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], int]]]:
    """Start `fiqa serve` with options; return the process and its port."""
    running: list[subprocess.Popen[str]] = []

    def begin(*options: str, before: str = "", files: int = 0) -> tuple[subprocess.Popen[str], int]:
        """Run the code `before`, and the service; allow so many open files."""
        start = f"{before}\nfrom sdk.commands.app import app\napp()"
        command = [sys.executable, "-c", start, "serve", "--port", "0", *options]
        limit = ["bash", "-c", f'ulimit -n {files}; exec "$@"', "bash"] if files else []
        process = subprocess.Popen(
            [*limit, *command], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=dict(os.environ)
        )
        running.append(process)
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r":(\d+)/$", said.strip())
        assert found, said + process.stderr.read()
        return process, int(found[1])

    yield begin
    for process in running:
        process.kill()
        process.wait()

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

    def begin(*options: str) -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-m", "fiqa", "serve", "--port", "0", *options]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=dict(os.environ))
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

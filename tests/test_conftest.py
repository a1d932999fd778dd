"""One process runs all tests: what a test leaves behind does not reach the next one, and a crash is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

TESTS = """
import ctypes, os, signal, sys, time
from pathlib import Path

def test_it_leaves_what_ray_leaves():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = ctypes.c_int, ctypes.c_void_p
    libc.signal(signal.SIGABRT, None)

def test_the_handler_is_back():
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

def test_a_copy_that_fails():
    copy = os.fork()
    if copy == 0:
        raise AssertionError
    assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 3

def test_the_copy_runs_no_other_test():
    with Path("processes").open("a") as file:
        file.write(f"{os.getpid()} ")

def test_last():
    if "CRASH" in os.environ:
        os.abort()
"""


def run_tests(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `TESTS` in a process of their own, beside a copy of the real `conftest.py`."""
    (folder / "conftest.py").write_bytes(CONFTEST.read_bytes())
    (folder / "test_all.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and calls the C library")
def test_what_a_test_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    done = run_tests(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout
    assert len((tmp_path / "processes").read_text().split()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="calls the C library")
def test_a_crash_is_told(tmp_path: Path) -> None:
    done = run_tests(tmp_path, CRASH="1")
    assert done.returncode == -6
    assert "Fatal Python error: Aborted" in done.stderr
    assert "in test_last" in done.stderr

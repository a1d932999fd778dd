"""Programs that run in their own process, because they may hang: forks, threads, the end of the interpreter."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

START = """
import copy, gc, os, pickle, signal, sys, threading, time, weakref
import numpy as np
from sdk import DeviceError, FaceDetector, FiqaError, ModelError, QualityScorer
from tests.support.tiny_models import faces
PATH = sys.argv[1]
batch = faces(60)

def in_child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            said = work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        if said not in (None, True):
            print(said, flush=True)
        os._exit(0 if said in (None, True) else 1)
    return os.waitpid(pid, 0)[1]
"""


def run_program(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program after the lines of `START`; raise an error if it hangs for two minutes."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", START + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)


def check_program(code: str, *arguments: object, said: str = "") -> None:
    """Run a program; check that it succeeds, prints this text and nothing on stderr."""
    done = run_program(code, *arguments)
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (0, said, "")

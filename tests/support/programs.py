"""Programs in a process of their own, for what may hang: forks, threads, the end of the interpreter."""

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
    """Run a program that begins with `START`; a hang is an error after two minutes."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", START + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)


def check_program(code: str, *arguments: object, said: str = "") -> None:
    """Run a program that must succeed, say this and nothing on stderr."""
    done = run_program(code, *arguments)
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (0, said, "")

"""Ctrl-C and other signals: a long command ends soon and says how to go on."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from train.stopping import MESSAGE, Stopped, handlers_kept, stoppable

# Work that no Python signal handler interrupts: a sort in native code, and threads that are waited for.
SLOW = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import train.data.prepare as prepare
from train.cli import app

def slow(*_):
    print("works", flush=True)
    if sys.argv[1] == "native":
        np.sort(np.random.default_rng(0).random(3 * 10**8))
    elif sys.argv[1] == "threads":
        with ThreadPoolExecutor() as pool:
            pool.submit(time.sleep, 60)
            time.sleep(60)
    time.sleep(60)

prepare.prepare = slow
app(["prepare", "x", "--out", "y"])
"""


@pytest.mark.parametrize(
    ("how", "number"),
    [("native", signal.SIGINT), ("threads", signal.SIGINT), ("plain", signal.SIGTERM), ("threads", signal.SIGHUP)],
)
def test_a_command_that_is_stopped(how: str, number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, how], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "works\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=30)  # minutes without the thread that watches
    assert process.returncode == 128 + number
    assert MESSAGE in said
    assert "Traceback" not in said


def test_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    threads = threading.active_count()
    with stoppable():
        assert signal.getsignal(signal.SIGTERM) != before
        with handlers_kept():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) not in (before, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == before
    for _ in range(100):
        if threading.active_count() == threads:
            break
        time.sleep(0.05)
    assert threading.active_count() == threads


COPY = """
import os, signal, time
from train.stopping import stoppable

signal.signal(signal.SIGHUP, signal.SIG_IGN)
with stoppable():
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    copy = os.fork()
    if copy == 0:
        time.sleep(30)
        os._exit(0)
    time.sleep(0.2)
    os.kill(copy, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no copies of a process here")
def test_an_ignored_signal_stays_ignored_and_a_copy_has_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COPY], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == -signal.SIGTERM


def test_the_number_is_the_exit_code() -> None:
    assert Stopped(signal.SIGINT).code == 130
    assert Stopped(signal.SIGTERM).code == 143
    assert not isinstance(Stopped(2), Exception)

"""Ctrl-C and other signals: a long command ends soon and says how to go on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sdk.stopping import MESSAGE

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

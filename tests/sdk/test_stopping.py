"""Ends of long commands: one signal, two signals, signals that are ignored, forked children, threads that hang."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sdk.stopping import Stopped, handlers_kept, leave, stoppable, wait_for

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def program(code: str) -> "subprocess.CompletedProcess[str]":
    start = "import os, signal, sys, threading, time\nfrom sdk.stopping import *\n"
    return subprocess.run([sys.executable, "-c", start + code], cwd=ROOT, capture_output=True, text=True, timeout=60)


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
    done = program(COPY)
    assert int(done.stdout) == -signal.SIGTERM


def test_the_number_is_the_exit_code() -> None:
    assert Stopped(signal.SIGINT).code == 130
    assert Stopped(signal.SIGTERM).code == 143
    assert not isinstance(Stopped(2), Exception)


@posix
@pytest.mark.parametrize(("words", "codes"), [("", (143, 143)), ("code=7, patience=None", (7, 7))])
def test_the_first_signal_is_raised_and_the_second_ends_the_process(words: str, codes: tuple[int, int]) -> None:
    code = f"""
try:
    with stoppable({words}):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
except Stopped as stopped:
    print(stopped, stopped.code)
"""
    assert program(code).stdout == f"stopped; the same command goes on {codes[0]}\n"
    busy = code.replace("        time.sleep(30)\n", "").replace(
        "        os.kill(os.getpid(), signal.SIGTERM)\n",
        "        for _ in range(2):\n            try:\n                os.kill(os.getpid(), signal.SIGTERM)\n"
        "                time.sleep(30)\n            except Stopped:\n                print('first', flush=True)\n",
    )
    done = program(busy)
    assert (done.returncode, done.stdout) == (codes[1], "first\n")


@posix
def test_a_stream_ends_in_order_and_each_signal_counts_once() -> None:
    done = program("""
with OrderlyEnd() as signals:
    signals.watch(lambda: print("end"))
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(2):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except Stopped as stopped:
            print("interrupted", stopped.code)
    signals.close()
    os.kill(os.getpid(), signal.SIGHUP)
print([signal.getsignal(one) == signal.SIG_IGN for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)])
""")
    assert done.stdout.splitlines() == ["end", "interrupted 130", "[True, True, True]"], done.stderr


@posix
def test_a_signal_before_there_is_a_stream() -> None:
    done = program("""
with OrderlyEnd():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except Stopped as stopped:
        print(stopped.code)
""")
    assert done.stdout == "0\n", done.stderr


@posix
def test_a_process_does_not_wait_for_threads_that_hang() -> None:
    start = "threading.Thread(target=time.sleep, args=(300,), name='fiqa-x').start()\n"
    began = time.monotonic()
    assert program(start + "leave(5, 'fiqa-')").returncode == 5
    assert time.monotonic() - began < 20
    release = "stop = threading.Event()\nthreading.Thread(target=stop.wait, name='fiqa-x').start()\n"
    others = "leave(5, 'fiqa-', threading.enumerate())\nstop.set()\nprint('here')"
    assert program(release + others).stdout == "here\n"


def test_work_in_a_thread_gives_its_result_or_its_error() -> None:
    assert wait_for(lambda: threading.current_thread().name) == "fiqa-open"
    with pytest.raises(ZeroDivisionError):
        wait_for(lambda: 1 // 0)
    leave(1, "fiqa-nobody")

"""What all tests share."""

import faulthandler
import os
import signal
from collections.abc import Generator
from typing import Any

import pytest

PID = pytest.StashKey[int]()
STDERR = pytest.StashKey[int]()
HANDLERS = pytest.StashKey[dict[int, Any]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Hear signals. A shell in the background, or `nohup`, ignores them, and so would the commands that tests stop."""
    handlers = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is None:
            continue
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
        handlers[number] = signal.getsignal(number)
    stash = session.config.stash
    stash[PID], stash[HANDLERS], stash[STDERR] = os.getpid(), handlers, os.dup(2)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin each test with the handlers of signals that the run began with.

    Ray takes SIGTERM, and the signals of a crash from faulthandler. After `ray.shutdown()` nothing hears those, so that
    a crash ends all tests without a word.
    """
    for number, handler in item.config.stash[HANDLERS].items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)
    if faulthandler.is_enabled():
        faulthandler.disable()
        faulthandler.enable(item.config.stash[STDERR])


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """End a forked copy of this process when it leaves its test.

    It would run all tests that follow, beside this process and without its threads: torch crashes or hangs there.
    """
    try:
        return (yield)
    finally:
        if os.getpid() != pyfuncitem.config.stash[PID]:
            os._exit(pytest.ExitCode.INTERNAL_ERROR)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run in which no test passed or failed, so that a green run always means that something was tested."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly or exitstatus != pytest.ExitCode.OK:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not reporter.stats.get("passed"):
        reporter.write_line("no test passed, so nothing was shown: exit code 5", red=True)
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

"""What all tests share."""

import signal

import pytest


def pytest_sessionstart() -> None:
    """Hear signals. A shell in the background, or `nohup`, ignores them, and so would the commands that tests stop."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run in which no test passed or failed, so that a green run always means that something was tested."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly or exitstatus != pytest.ExitCode.OK:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not reporter.stats.get("passed"):
        reporter.write_line("no test passed, so nothing was shown: exit code 5", red=True)
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

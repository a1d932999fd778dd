"""What all tests share."""

import pytest


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run in which no test passed or failed, so that a green run always means that something was tested."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly or exitstatus != pytest.ExitCode.OK:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not reporter.stats.get("passed"):
        reporter.write_line("no test passed, so nothing was shown: exit code 5", red=True)
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

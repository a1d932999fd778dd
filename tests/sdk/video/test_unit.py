"""The systemd unit: what it limits, and that no password is on its command line."""

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[3] / "deploy" / "fiqa-video.service"
SETTINGS: dict[str, list[str]] = defaultdict(list)
for _line in UNIT.read_text(encoding="utf-8").splitlines():
    if not _line.startswith(("#", "[")) and "=" in _line:
        _name, _, _value = _line.partition("=")
        SETTINGS[_name].append(_value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NoNewPrivileges", "yes"), ("CapabilityBoundingSet", ""), ("AmbientCapabilities", ""), ("DynamicUser", "yes"),
        ("SystemCallFilter", "@system-service"), ("SystemCallFilter", "~@privileged"),
        ("SystemCallArchitectures", "native"), ("ProtectSystem", "strict"), ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"), ("DevicePolicy", "closed"), ("DeviceAllow", "char-video4linux rw"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX AF_NETLINK"), ("RestrictNamespaces", "yes"),
        ("LockPersonality", "yes"), ("ProtectKernelTunables", "yes"), ("ProtectKernelModules", "yes"),
        ("ProtectKernelLogs", "yes"), ("ProtectControlGroups", "yes"), ("UMask", "0077"), ("LimitCORE", "0"),
        ("LimitNOFILE", "1024"), ("TasksMax", "512"), ("MemoryMax", "1500M"), ("StateDirectory", "fiqa"),
        ("Restart", "always"), ("EnvironmentFile", "/etc/fiqa/video.env"),
    ],
)  # fmt: skip
def test_limits(name: str, value: str) -> None:
    assert value in SETTINGS[name]


def test_the_source_is_not_on_the_command_line() -> None:
    (command,) = SETTINGS["ExecStart"]
    assert command == "/opt/fiqa/bin/fiqa video --best-shots /var/lib/fiqa/shots $OPTIONS"


def test_what_systemd_says() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(UNIT)], capture_output=True, text=True, check=False
    )
    found = re.search(r"Overall exposure level for fiqa-video.service: ([0-9.]+)", done.stdout)
    if found is None:
        pytest.skip(f"this systemd-analyze reads no file: {done.stderr}")
    assert float(found[1]) < 2
    assert str(UNIT) not in done.stderr, "a setting that systemd does not know"

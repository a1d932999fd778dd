"""The images and the unit in `deploy/`, read from their files: no container is built here."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from sdk.commands.app import app
from tests.support.project import extras

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
IMAGES = sorted(path.stem for path in DEPLOY.glob("*.Dockerfile"))
JETPACK6, JETPACK7 = "3.10", "3.12"
"""Their versions of Python."""


def instructions(image: str) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile with their arguments, without comments and with their lines joined."""
    lines = (DEPLOY / f"{image}.Dockerfile").read_text(encoding="utf-8").splitlines()
    text = re.sub(r"\\\n\s*", "", "\n".join(line for line in lines if not line.startswith("#")))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def commands(image: str) -> str:
    """Everything that an image runs while it is built."""
    return "\n".join(rest for name, rest in instructions(image) if name == "RUN")


def installed(image: str) -> list[set[str]]:
    """The extras of every installation of fiqa in an image."""
    return [set(found.split(",")) for found in re.findall(r'(?:whl\)|/src)\[([\w,-]+)\]"', commands(image))]


@pytest.mark.parametrize("image", IMAGES)
def test_extras_exist(image: str) -> None:
    assert installed(image)
    for named in installed(image):
        assert named <= set(extras())


@pytest.mark.parametrize("image", IMAGES)
def test_one_onnxruntime_and_never_two(image: str) -> None:
    assert "uninstall" not in commands(image)
    for named in installed(image):
        assert not {"cpu", "gpu"} <= named


def test_each_image_takes_the_extra_that_it_is_for() -> None:
    assert installed("cpu") == [{"cpu"}]
    assert installed("gpu") == [{"gpu"}]
    assert installed("serve") == [{"cpu", "serve"}]
    # With a wheel of onnxruntime-gpu for the board, and without one.
    assert installed("jetson") == [{"tensorrt"}, {"cpu", "tensorrt"}]


def test_a_jetson_sees_the_packages_of_jetpack() -> None:
    built = commands("jetson")
    assert "python3 -m venv --system-site-packages /opt/fiqa" in built
    installs = re.findall(r"pip install [^;&]+", built)
    assert len(installs) == 3
    assert all("--constraint /jetson.constraints" in line for line in installs)
    assert ("COPY", "deploy/jetson.constraints /") in instructions("jetson")
    assert "hasBackend(cv2.CAP_GSTREAMER)" in built


def pinned(name: str, python: str) -> list[Requirement]:
    """What `deploy/jetson.constraints` says of a package on a version of Python."""
    lines = (DEPLOY / "jetson.constraints").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [one for one in found if one.name == name and (one.marker is None or one.marker.evaluate(
        {"python_version": python}))]  # fmt: skip


@pytest.mark.parametrize(
    ("package", "python", "fits", "does_not_fit"),
    [
        ("numpy", JETPACK6, "1.26.4", "2.0.0"),
        ("opencv-python-headless", JETPACK6, "4.11.0.86", "4.12.0.88"),
        ("opencv-python-headless", JETPACK7, "4.13.0.92", "5.0.0.93"),
        ("cuda-bindings", JETPACK6, "12.9.5", "13.0.0"),
        ("cuda-bindings", JETPACK7, "13.5.0", "14.0.0"),
    ],
)
def test_pins_of_jetpack(package: str, python: str, fits: str, does_not_fit: str) -> None:
    (pin,) = pinned(package, python)
    assert Version(fits) in pin.specifier
    assert Version(does_not_fit) not in pin.specifier
    everywhere = [Requirement(line) for lines in extras().values() for line in lines]
    asked = [one for one in everywhere if one.name == package and (one.marker is None or one.marker.evaluate(
        {"python_version": python, "sys_platform": "linux", "platform_machine": "aarch64"}))]  # fmt: skip
    assert all(Version(fits) in one.specifier for one in asked)


def test_no_extra_brings_tensorrt_to_a_board() -> None:
    """There it comes with JetPack, and a package for other ARM machines would hide it."""
    for line in [line for name in ("tensorrt", "tensorrt-rtx") for line in extras()[name] if "tensorrt" in line]:
        marker = Requirement(line).marker
        assert marker is not None
        for python in (JETPACK6, JETPACK7):
            board = {"python_version": python, "sys_platform": "linux", "platform_machine": "aarch64"}
            assert not marker.evaluate(board)


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_reaches_the_build(image: str) -> None:
    """`.dockerignore` leaves all out but what it names, so that a package of the wheel may be missing in silence."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"]
    assert {f"{name}/**" for name in ("fiqa", "sdk", "export", "train")} <= set(kept)
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE", "THIRD_PARTY_NOTICES"} <= set(kept)
    assert all((ROOT / name.removesuffix("/**")).exists() for name in kept)
    copied = [rest.split()[0] for name, rest in instructions(image) if name == "COPY" and "--from" not in rest]
    assert set(copied) - {"."} <= set(kept)


def options_of(name: str) -> set[str]:
    """Names of the options of a command of `fiqa`."""
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("image", IMAGES)
def test_options_of_the_entry_point(image: str) -> None:
    (line,) = [rest for name, rest in instructions(image) if name == "ENTRYPOINT"]
    words = re.findall(r'"([^"]*)"', line)
    assert words[:2] == ["fiqa", "serve" if image == "serve" else "video"]
    assert {word for word in words if word.startswith("--")} <= options_of(words[1])


def test_options_of_the_unit() -> None:
    text = (DEPLOY / "fiqa-video.service").read_text(encoding="utf-8")
    lines = re.findall(r"^(?:ExecStart=|#   OPTIONS=)(.+)$", text, re.MULTILINE)
    assert len(lines) == 2
    assert {word for line in lines for word in shlex.split(line) if word.startswith("--")} <= options_of("video")
    assert re.search(r"^ExecStart=/opt/fiqa/bin/fiqa video ", text, re.MULTILINE)
    assert "FIQA_SOURCE" in (ROOT / "sdk/commands/video.py").read_text(encoding="utf-8")


def test_options_of_the_service() -> None:
    text = (DEPLOY / "fiqa-serve.service").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ExecStart=/opt/fiqa/bin/fiqa serve (.+)$", text, re.MULTILINE)
    assert {word for word in shlex.split(line) if word.startswith("--")} <= options_of("serve")


def test_manifest_of_kubernetes() -> None:
    """Its fields fit together. No schema of Kubernetes is at hand here, so names of fields are not checked."""
    deployment, service = yaml.safe_load_all((DEPLOY / "fiqa-serve.yaml").read_text(encoding="utf-8"))
    assert [one["kind"] for one in (deployment, service)] == ["Deployment", "Service"]
    pod = deployment["spec"]["template"]
    labels = deployment["spec"]["selector"]["matchLabels"]
    assert labels == pod["metadata"]["labels"] == service["spec"]["selector"]
    (container,) = pod["spec"]["containers"]
    (port,) = container["ports"]
    assert port["name"] == service["spec"]["ports"][0]["targetPort"]
    assert {container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")} == {
        "/ready",
        "/health",
    }
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["spec"]["volumes"]}
    assert {word for word in container["args"] if word.startswith("--")} <= options_of("serve")

"""Run the SDK's tests on every Python that this machine has, with the newest dependencies, the oldest, and a Jetson's.

    python tests/pythons.py                  every Python of `RUNS` that is found
    python tests/pythons.py 3.10 3.12        these only
    python tests/pythons.py --pytest tests/sdk/test_scorer.py -x

Each run has an environment of its own, made by uv below `--envs` and kept there. Pythons are looked for in PATH, among
those of pyenv and of uv; where one is missing, uv fetches it if it can reach its source. The oldest dependencies are
the lower bounds in pyproject.toml, tested on the oldest Python: newer ones have no wheels of packages that old.

The tests of `train` and `export` are no part of this, for torch is large: `make test` runs them, on one Python.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = (
    ("3.10", "oldest"), ("3.10", "jetson"), ("3.10", "newest"),
    ("3.11", "newest"), ("3.12", "newest"), ("3.13", "newest"),
)  # fmt: skip
"""Version of Python, and key of `VERSIONS`."""

VERSIONS = {
    "newest": [],
    "oldest": ["--resolution", "lowest-direct"],
    "jetson": ["--constraint", "deploy/jetson.constraints"],
}
"""Which versions of the dependencies are taken, as arguments of uv."""

EXTRAS = "cpu,openvino,report"
TOOLS = ("filelock", "hypothesis", "onnx", "pillow", "pytest", "pyyaml", "scipy")
"""What the tests need beside what they test; always the newest that fits."""


def main() -> int:
    """Run all, print a table, and return how many failed or had no Python."""
    options = _options()
    table, failed = [], 0
    for version, which in RUNS:
        if options.versions and version not in options.versions:
            continue
        python = _make(options.envs / f"{version}-{which}", version, VERSIONS[which])
        done = _test(python, options.pytest) if python else None
        failed += done is None or done.returncode != 0
        table.append(f"{version:6}{which:8}{_last_line(done)}")
    print("\n".join(["", *table]))
    return failed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("versions", nargs="*", help="versions of Python; all where none is given")
    parser.add_argument("--envs", type=Path, default=ROOT / ".pythons", help="folder of the environments")
    parser.add_argument("--pytest", nargs=argparse.REMAINDER, default=["tests/sdk"], help="arguments of pytest")
    return parser.parse_args()


def _find(version: str) -> str:
    """Path of a Python that runs, else its version, which uv looks for."""
    named = shutil.which(f"python{version}")
    found = [*Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), *([Path(named)] if named else [])]
    for path in found:  # a shim of pyenv is there, and may not run
        if subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0:
            return str(path)
    return version


def _make(folder: Path, version: str, arguments: list[str]) -> Path | None:
    """Make an environment with the project and what its tests need; None where there is no such Python."""
    uv = [sys.executable, "-m", "uv"]
    if subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", _find(version), folder]).returncode:
        return None
    python = next(path for path in (folder / "bin/python", folder / "Scripts/python.exe") if path.exists())
    install = [*uv, "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, *arguments, "--editable", f"{ROOT}[{EXTRAS}]"], check=True, cwd=ROOT)
    subprocess.run([*install, *TOOLS], check=True)
    subprocess.run([*uv, "pip", "freeze", "--python", python], check=True)
    return python


def _test(python: Path, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run pytest, and show its last lines."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    print("\n".join(done.stdout.splitlines()[-60:]), flush=True)
    return done


def _last_line(done: "subprocess.CompletedProcess[str] | None") -> str:
    return "no such Python here" if done is None else done.stdout.splitlines()[-1].strip("= ")


if __name__ == "__main__":
    sys.exit(main())

"""A wheel built from the project: what is in it, what it needs, and that it scores in an empty environment."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import venv
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from sysconfig import get_path

import pytest

ROOT = Path(__file__).parents[1]
BASE = {"numpy", "opencv-python-headless", "pooch", "tomli", "typer"}
LICENCES = ("LICENSE", "NOTICE", "THIRD_PARTY_NOTICES")
PROGRAM = """
import sys
import sdk
from sdk.images.decoding import load_image
with sdk.QualityScorer() as scorer:
    score = scorer.score(load_image(sys.argv[1]))
print(sdk.__file__, -1 < score < 2, *sorted({"torch", "onnx", "train", "export"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for setuptools leaves files in the folder it builds in, and takes old ones from there."""
    source = tmp_path_factory.mktemp("source")
    for name in ("fiqa", "sdk", "export", "train", "tests", "examples"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", *LICENCES):
        shutil.copy(ROOT / name, source)
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = target.glob("*.whl")
    return path


def test_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"fiqa", "sdk", "export", "train"}
    data = {"fiqa/py.typed", "sdk/py.typed",
            "export/py.typed", "train/py.typed", "sdk/models/catalog.toml", "sdk/models/fiqa-nano.onnx",
            "sdk/models/fiqa-detector.onnx", "sdk/models/fiqa-reasons.onnx", "sdk/decision/reasons.toml",
            "sdk/results_io/report.html", "export/proof/face.png"}  # fmt: skip
    recipes = {path.relative_to(ROOT).as_posix() for path in (ROOT / "train/configs").glob("*.yaml")}
    modules = {path.relative_to(ROOT).as_posix() for name in ("fiqa", "sdk", "export", "train") for path in
               (ROOT / name).rglob("*.py")}  # fmt: skip
    assert recipes
    assert data | recipes | modules <= set(names)
    licences = {name.rsplit("/", 1)[-1] for name in names if "/licenses/" in name}
    assert licences == set(LICENCES)


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """What the index page and pip read."""
    with zipfile.ZipFile(wheel) as file:
        name = next(name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(file.read(name))


def test_base_install_is_small(metadata: Message) -> None:
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {re.split(r"[ <>=!;~]", line)[0] for line in needed} == BASE
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Author"] == "fiqa contributors"


def test_only_one_extra_brings_each_onnxruntime(metadata: Message) -> None:
    """Both bring the same module, and the one installed last would win: so no extra pulls one in beside the other."""
    needed = [re.fullmatch(r"(onnxruntime[^ <>=;]*)[^;]*; extra == \"([^\"]+)\"", line) for line in
              metadata.get_all("Requires-Dist", [])]  # fmt: skip
    assert {found.groups() for found in needed if found} == {
        ("onnxruntime", "cpu"), ("onnxruntime-gpu[cuda,cudnn]", "gpu"),
    }  # fmt: skip


RELATIVE = re.compile(r"\]\((?!\w+:|#)[^)]*\)|(?:src|href)=\"(?!\w+:|#)[^\"]*\"")


def test_the_index_page_has_no_relative_links(metadata: Message) -> None:
    text = str(metadata.get_payload())
    assert text.startswith("# fiqa")
    assert RELATIVE.findall(text) == []


@pytest.mark.parametrize(
    ("text", "absolute", "plain"),
    [
        ("[a](docs/a.md#b)", "[a](https://x.org/o/p/blob/HEAD/docs/a.md#b)", "a"),
        ("![a](b.png)", "![a](https://x.org/o/p/raw/HEAD/b.png)", ""),
        ("[`a`\nb](c)", "[`a`\nb](https://x.org/o/p/blob/HEAD/c)", "`a`\nb"),
        ("[a](https://b.org) [c](#d)", "[a](https://b.org) [c](#d)", "[a](https://b.org) [c](#d)"),
    ],
)
def test_links_of_the_index_page(text: str, absolute: str, plain: str) -> None:
    index_page = runpy.run_path(str(ROOT / "setup.py"))["index_page"]
    assert index_page(text, "https://x.org/o/p") == absolute
    assert index_page(text, "") == plain


def test_scores_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Installed alone; the packages it needs are lent by this environment, whose own fiqa stays out of sight."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = next(path for path in (home / "bin/python", home / "Scripts/python.exe") if path.exists())
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (packages,) = home.rglob("site-packages")
    # A line in a .pth file adds the folder without reading the .pth files in it, one of which may be ours.
    (packages / "lent.pth").write_text(get_path("purelib") + "\n", encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FIQA_", "PYTHON"))}
    environment |= {"FIQA_CACHE": str(tmp_path / "cache"), "FIQA_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-c", PROGRAM, ROOT / "export/proof/face.png"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(packages / "sdk" / "__init__.py"), "True"]
    command = python.with_name("fiqa" + python.suffix)
    done = subprocess.run([command, "--version"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stdout.startswith("fiqa ")


WITHOUT = """
import sys
sys.modules["onnxruntime"] = None
import sdk, fiqa
from sdk.commands.app import app
from typer.testing import CliRunner
for arguments in (["--help"], ["models", "list"], ["doctor"]):
    result = CliRunner().invoke(app, arguments)
    print(result.exit_code, type(result.exception).__name__)
try:
    sdk.QualityScorer()
except sdk.DeviceError as error:
    print(error)
"""


def test_without_onnxruntime() -> None:
    """The base install: all but a scorer works, and a scorer says what to install."""
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert lines[:3] == ["0 NoneType", "0 NoneType", "1 SystemExit"], done.stderr
    assert "pip install 'fiqa[cpu]', or 'fiqa[gpu]'" in lines[3]

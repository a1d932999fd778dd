"""The import graph: packages stand on floors, and a package imports from lower floors only."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = """
sdk.results
sdk.errors
sdk.arguments sdk.public_names sdk.text sdk.parallel sdk.stopping
sdk.alignment
sdk.files
sdk.decision
sdk.onnx_bytes
sdk.images
sdk.models
sdk.runtimes
sdk.detection
sdk.measuring
sdk.scorer
sdk.results_io sdk.proof
sdk.calibrating
sdk.video
sdk
sdk.serving
sdk.commands
fiqa
train.lazy train.lock train.references train.regressors train.yaml_files
train.recipes train.run_state
train.degradations train.device
train.networks
train.data
train.labelling train.fitting
train.evaluation
train.methods
train.detector
train.reasons
train.pipeline
train
train.cli
export.networks export.settings export.targets
export.graph
export.engines export.proof
export.sources
export.file_card
export.formats
export.inspection export.licence export.opencv export.rules export.tasks
export.proven_file
export.exported
export.pipeline
export
export.cli
"""
"""From the ground to the roof. A folder is one package; what shares a line is apart. `sdk`, `train` and `export` alone
are the public names, which are imported when they are used."""


def package_of(module: str) -> str:
    """First two parts of a module's name: `sdk.video` of `sdk.video.web.http`."""
    return ".".join(module.split(".")[:2])


def modules() -> dict[str, Path]:
    """Every module of the project and its file."""
    files = [path for top in ("fiqa", "sdk", "train", "export") for path in sorted((ROOT / top).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


MODULES = modules()
HEIGHT = {name: height for height, line in enumerate(FLOORS.strip().splitlines()) for name in line.split()}


def imports_of(module: str) -> set[str]:
    """Modules of the project that a module imports, at any place in it."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{name.name}" for name in node.names}
            found |= (inner & set(MODULES)) | ({node.module} if inner - set(MODULES) else set())
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name in MODULES}


def test_every_package_has_a_floor() -> None:
    packages = {package_of(module) for module in MODULES} - {"fiqa.__main__"}
    assert packages == set(HEIGHT)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"sdk", "train", "export"}))
def test_imports_go_down(module: str) -> None:
    here = package_of(module) if module != "fiqa.__main__" else "fiqa"
    upwards = {
        other for other in imports_of(module) if package_of(other) != here and HEIGHT[package_of(other)] >= HEIGHT[here]
    }
    assert upwards == set()


def test_no_circle_between_modules() -> None:
    """Within a package, too, modules stand on floors."""
    left = {module: imports_of(module) - {module} for module in MODULES if module not in ("sdk", "train", "export")}
    while free := {module for module, others in left.items() if not others & set(left)}:
        left = {module: others for module, others in left.items() if module not in free}
    assert left == {}


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES.values()}), ids=lambda path: path.name)
def test_a_folder_holds_a_dozen_modules_at_most(folder: Path) -> None:
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 12


def test_tests_do_not_import_one_another() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        wrong = [line for line in text.splitlines() if line.startswith(("from tests.", "import tests.", "from test_"))]
        assert [line for line in wrong if not line.startswith("from tests.support")] == [], path


@pytest.mark.parametrize("folder", ["benchmarks", "examples"])
def test_what_scripts_take_from_the_project_is_there(folder: str) -> None:
    """No type checker reads these scripts, and most of them run by hand only."""
    taken = {
        (node.module, name.name)
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("fiqa", "sdk", "train", "export")
        for name in node.names
    }
    assert taken
    missing = []
    for module, name in sorted(taken):
        if f"{module}.{name}" not in MODULES and not hasattr(importlib.import_module(module), name):
            missing.append(f"{module}.{name}")
    assert missing == []

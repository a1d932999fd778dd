"""The example of "Add a file format" in CONTRIBUTING.md, added to a copy of the project and used."""

import json
from pathlib import Path

import pytest

from tests.support.project_copy import ProjectCopy

APP = "from export.cli import app; app()"
SCORES = """
import sys
import numpy as np
from sdk import QualityScorer

faces = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)
for model in ("fiqa-nano", *sys.argv[1:]):
    with QualityScorer(model, "cpu") as scorer:
        print(scorer.card.format, *scorer.score_batch(faces))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    after = "FORMATS: Mapping[str, Format] = MappingProxyType(\n    {\n"
    return ProjectCopy(tmp_path_factory.mktemp("project"), "Add a file format", after)


@pytest.fixture(scope="module")
def file(project: ProjectCopy) -> Path:
    """A file of the new format, exported."""
    project.run(APP, "--model", "fiqa-nano", "--format", "packed", "--out", "out")
    return project.folder / "out" / "fiqa-nano-packed.onnxz"


def test_it_is_exported_and_proven(project: ProjectCopy, file: Path) -> None:
    report = json.loads(file.with_name("fiqa-nano-packed.report.json").read_text())
    assert report["proven"] is True
    assert set(report["agreement"]) == {f"fiqa, batch {batch}" for batch in (1, 3, 16)}
    assert set(report["files"]) == {file.name}
    assert not file.read_bytes().startswith(b"\x08")  # as an ONNX file does


def test_it_scores_as_the_packaged_model_does(project: ProjectCopy, file: Path) -> None:
    onnx, packed = project.run(SCORES, file).splitlines()
    assert onnx.split()[0] == "onnx"
    assert packed.split()[0] == "packed"
    assert len(set(onnx.split())) == 6
    assert onnx.split()[1:] == packed.split()[1:]


def test_the_commands_know_it(project: ProjectCopy, file: Path) -> None:
    assert "onnxruntime, on CPUs" in project.run(APP, "formats")
    assert "packed" in project.run(APP, "inspect", file)
    assert "has no --precision fp16" in project.run(APP, "--model", "fiqa-nano", "--format", "packed", "--precision",
                                                    "fp16", status=2)  # fmt: skip
    damaged = file.with_name("damaged.onnxz")
    damaged.write_bytes(file.read_bytes()[:-1] + b"x")
    damaged.with_suffix(".json").write_bytes(file.with_suffix(".json").read_bytes())
    assert "they are damaged or of another export" in project.run(APP, "inspect", damaged, status=1)

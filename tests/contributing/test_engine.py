"""The example of "Add an engine" in CONTRIBUTING.md, added to a copy of the project and used."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.project_copy import ProjectCopy

SCORES = """
import sys
import numpy as np
from sdk import QualityScorer

faces = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)
for device in ("cpu", "opencv"):
    with QualityScorer(device=device, threads=2) as scorer:
        print(scorer.device, *scorer.score_batch(faces))
"""
APP = "from sdk.commands.app import app; app()"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    after = '                "openvino-ep": _ONNXRUNTIME,\n'
    return ProjectCopy(tmp_path_factory.mktemp("project"), "Add an engine", after)


def test_it_scores_as_the_cpu_does(project: ProjectCopy) -> None:
    (cpu, *expected), (device, *found) = (line.split() for line in project.run(SCORES).splitlines())
    assert (cpu, device) == ("cpu", "opencv")
    np.testing.assert_allclose(np.array(found, float), np.array(expected, float), atol=1e-5)
    assert np.ptp(np.array(found, float)) > 1e-3


def test_the_commands_know_it(project: ProjectCopy) -> None:
    face = Path("export/proof/face.png")
    assert "0." in project.run(APP, "score", face, "--device", "opencv")
    assert "unknown device 'opencw'" in project.run(APP, "score", face, "--device", "opencw", status=1)

"""The C++ example, where a compiler and OpenCV's headers are; with ONNXRUNTIME=FOLDER for onnxruntime, too."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from export.opencv import export_for_opencv
from sdk import FaceDetector, FaceQuality, QualityScorer

ROOT = Path(__file__).parents[2]
TOOLS = [tool for tool in ("cmake", "c++") if shutil.which(tool) is None]
HEADERS = any(Path(folder, "opencv4/opencv2/dnn.hpp").is_file() for folder in ("/usr/include", "/usr/local/include"))
LINE = re.compile(r"score (\S+)  face at (\S+), (\S+), (\S+) x (\S+) pixels, detected with (\S+)")

pytestmark = [
    pytest.mark.skipif(bool(TOOLS), reason=f"needs {' and '.join(TOOLS)}: apt install cmake g++"),
    pytest.mark.skipif(not HEADERS, reason="needs OpenCV's headers: apt install libopencv-dev"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the programs and the two files that they run."""
    folder = tmp_path_factory.mktemp("cpp")
    sources = ["-S", str(ROOT / "examples/cpp"), f"-DONNXRUNTIME={os.environ.get('ONNXRUNTIME', '')}"]
    for command in ([*sources, "-B", str(folder)], ["--build", str(folder)]):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    export_for_opencv("fiqa-detector", folder / "detector.onnx", 512)
    export_for_opencv("fiqa-nano", folder / "nano.onnx")
    return folder


@pytest.fixture(scope="module")
def scorer() -> QualityScorer:
    """The SDK with the one pass that the example makes."""
    return QualityScorer("fiqa-nano", "cpu", threads=1, detector=FaceDetector(passes=(512,)))


def run(program: Path, picture: Path, code: int = 0) -> str:
    """What the program prints."""
    files = [str(program.parent / name) for name in ("detector.onnx", "nano.onnx")]
    done = subprocess.run([str(program), str(picture), *files], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def compare(printed: str, faces: list[FaceQuality]) -> None:
    """Boxes within a tenth of a pixel, scores within 1e-3."""
    found = np.array([LINE.fullmatch(line).groups() for line in printed.splitlines()], float)  # type: ignore[union-attr]
    wanted = np.array([(face.score, *face.box, face.confidence) for face in faces])
    assert found.shape == wanted.shape
    assert np.abs(found[:, 1:5] - wanted[:, 1:5]).max() < 0.1
    assert np.abs(found[:, 0] - wanted[:, 0]).max() < 1e-3


@pytest.mark.parametrize("picture", ["square", "portrait", "large"])
def test_scores_are_those_of_the_sdk(build: Path, scorer: QualityScorer, tmp_path: Path, picture: str) -> None:
    image = cv2.imread(str(ROOT / "examples/media/astronaut.jpg"))
    made = {"square": image, "portrait": image[:, 100:420], "large": cv2.resize(image, (1500, 1500))}[picture]
    path = tmp_path / "picture.png"  # without loss: versions of OpenCV decode JPEG differently
    cv2.imwrite(str(path), made)
    programs = [build / name for name in ("score_faces", "score_faces_ort") if (build / name).is_file()]
    for program in programs:
        compare(run(program, path), scorer.assess(path))


def test_no_picture(build: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("no picture")
    assert run(build / "score_faces", path, 1) == f"{path} is no picture that OpenCV reads\n"

"""Runtimes in processes of their own: batches, crashes, refusals, scripts without a main guard."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.exported import Exported
from export.proof import compare as verify
from export.proof import runtimes
from sdk import ModelError
from tests.support.exports import packaged

ZEROS = np.zeros(34, np.float32)


def test_batches_hold_every_face(faces: NDArray[np.uint8]) -> None:
    seen: list[int] = []

    def count(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(len(batch))
        return batch[:, 0, 0, :1].astype(np.float32)

    for scores in runtimes._in_batches(faces, count):
        np.testing.assert_array_equal(scores, faces[:, 0, 0, 0])
    assert seen == [1] * 34 + [3] * 11 + [1, 16, 16, 2]


def test_a_crash_is_an_error(monkeypatch: pytest.MonkeyPatch, faces: NDArray[np.uint8]) -> None:
    monkeypatch.setattr(runtimes, "WORKER", ("-c", "import os; os.abort()"))
    with pytest.raises(ModelError, match="OpenCV DNN crashed"):
        verify.compare(Path("file"), faces, ZEROS, ("OpenCV DNN",))


@pytest.mark.parametrize(
    ("runtime", "error", "words"),
    [
        ("OpenCV DNN", ModelError, "OpenCV DNN refuses the exported file"),
        ("onnxruntime", ModelError, "onnxruntime refuses the exported file"),
        ("fiqa", ModelError, "not an ONNX file"),
    ],
)
def test_what_a_runtime_refuses_is_an_error(
    runtime: str, error: type[Exception], words: str, tmp_path: Path, faces: NDArray[np.uint8]
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(error, match=words):
        runtimes.scores_apart(runtime, tmp_path / "bad.onnx", faces)


def test_the_users_cache_stays_as_it_was(
    tmp_path: Path, exported: dict[str, Exported], faces: NDArray[np.uint8]
) -> None:
    file = tmp_path / "draft" / "file.onnx"
    file.parent.mkdir()
    file.write_bytes(exported[".pth"].path.read_bytes())
    assert len(runtimes.scores_apart("fiqa", file, faces)) == 3
    assert (file.parent / "rewritten").is_dir()
    assert not Path(os.environ["FIQA_CACHE"]).exists()


def test_a_script_without_a_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nimport numpy as np\nfrom export.proof.runtimes import scores_apart\n"
        f"faces = np.zeros((16, 112, 112, 3), np.uint8)\nmodel = Path({str(packaged())!r})\n"
        "found = scores_apart('fiqa', model, faces)\n"
        "print('scored', [part.shape for part in found])\n"
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ran.stdout == "scored [(16,), (16,), (16,)]\n"

"""What an export writes to, and what it must not; and exports from a script without a main guard."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.engines.build import build_engine_file
from export.graph.rewrite import readable
from export.pipeline import export_model
from export.proof.compare import figures
from export.proof.package import as_json, check_folder
from export.settings import EngineOptions, ExportSettings
from export.sources.checkpoint import load_source
from sdk import InputError, ModelError
from sdk.models.catalog import find_entry
from sdk.proof.verify import compare_scores


def packaged() -> Path:
    path = find_entry("fiqa-nano").embedded
    assert path is not None
    return path


def test_an_output_that_is_an_input_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "fiqa-nano.onnx"
    weights.write_bytes(packaged().read_bytes())
    (tmp_path / "link").symlink_to(tmp_path)
    before = weights.read_bytes()
    for out in (tmp_path, tmp_path / "link"):
        with pytest.raises(InputError, match="is an input"):
            export_model("fiqa-nano", weights, out)
    settings = ExportSettings("tensorrt", timing_cache=weights)
    with pytest.raises(InputError, match=r"--timing-cache .* is an input"):
        export_model("fiqa-nano", weights, tmp_path / "out", settings=settings)
    with pytest.raises(InputError, match=r"--timing-cache .* is an input"):
        build_engine_file(weights, "tensorrt", None, EngineOptions((1,), timing_cache=weights))
    with pytest.raises(InputError, match="would be overwritten"):
        export_model("fiqa-nano", None, packaged().parent)
    detector = tmp_path / "fiqa-detector.onnx"
    detector.touch()
    with pytest.raises(InputError, match="is an input"):
        export_model("fiqa-detector", detector, tmp_path)
    assert weights.read_bytes() == before


@pytest.mark.parametrize("name", ["file", "file/below", "a\0b", "n" * 300])
def test_places_that_cannot_be(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError):
        export_model("fiqa-nano", None, tmp_path / name)
    with pytest.raises(InputError):
        build_engine_file(packaged(), "tensorrt", None, EngineOptions((1,)), tmp_path / name)


def test_graphs_that_make_no_sense_are_model_errors(tmp_path: Path) -> None:
    model = onnx.load(packaged())
    del model.metadata_props[:]
    path = tmp_path / "odd.onnx"
    for field in ("input", "output", "initializer"):
        odd = onnx.ModelProto()
        odd.CopyFrom(model)
        odd.graph.ClearField(field)
        path.write_bytes(odd.SerializeToString())
        with pytest.raises(ModelError, match=r"odd\.onnx"):
            load_source("fiqa-nano", path)
    with pytest.raises(ModelError, match=r"odd\.onnx holds a graph that is not valid \(KeyError\)"), readable(path):
        raise KeyError


def test_a_proof_of_rubbish_in_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "proof.npz").write_bytes(b"PK\5\6" + bytes(18))
    with pytest.raises(InputError, match="holds no array 'source'; give --out another folder"):
        check_folder(tmp_path, "0" * 64)


def test_scores_that_are_no_numbers_are_written_as_none() -> None:
    agreement = compare_scores(np.array([1, np.nan], np.float32), np.zeros(2, np.float32))
    assert figures({"cpu, batch 1": agreement}) == {}
    assert json.loads(as_json({"a": [agreement.largest, float("nan"), 1.5]})) == {"a": [None, None, 1.5]}


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

"""Files that are no source, and graphs that are not valid."""

from pathlib import Path

import onnx
import pytest

from export.graph.rewrite import readable
from export.sources.checkpoint import load_source
from sdk import ModelError
from tests.support.exports import packaged, save_changed


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ediffiqa-t", {}, "is an export of fiqa-nano: use that name, not ediffiqa-t"),
        ("fiqa-nano", {"precision": "int8"}, "is int8 already; export from the fp32 file"),
        ("fiqa-nano", {"change": "operator"}, "custom operator com.example"),
        ("fiqa-nano", {"change": "external"}, "weights in other files"),
        ("fiqa-nano", {"change": "input"}, r"input: \[\('faces', 1,"),
    ],
)
def test_exported_files_that_are_no_source(name: str, changes: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        load_source(name, save_changed(tmp_path / "file.onnx", **changes))


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

"""The form of a written file, read back."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from export.exported import Exported
from export.graph.front_end import INPUT, OUTPUT, QUALITY_ENDS
from export.proof.form import check_form
from sdk import ModelError


@pytest.mark.parametrize(
    ("opset", "ir_version", "kind", "output", "message"),
    [
        (18, 9, TensorProto.UINT8, OUTPUT, r"operator sets: \{'': 18\}, wanted \{'': 20\}"),
        (20, 10, TensorProto.UINT8, OUTPUT, "IR version: 10, wanted 9"),
        (20, 9, TensorProto.FLOAT, OUTPUT, "input"),
        (20, 9, TensorProto.UINT8, "score", "output"),
    ],
)
def test_form_is_read_back(opset: int, ir_version: int, kind: int, output: str, message: str, tmp_path: Path) -> None:
    faces = helper.make_tensor_value_info(INPUT, kind, ["batch", 112, 112, 3])
    quality = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 1])
    graph = helper.make_graph([helper.make_node("Relu", [INPUT], [output])], "any", [faces], [quality])
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=ir_version), tmp_path / "file.onnx")
    with pytest.raises(ModelError, match=message):
        check_form(tmp_path / "file.onnx", QUALITY_ENDS)


def test_an_exported_file_has_the_right_form(exported: dict[str, Exported]) -> None:
    for result in exported.values():
        check_form(result.path, QUALITY_ENDS)

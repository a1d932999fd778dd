"""The one table of formats: all that it names is there."""

import pytest

from export.formats.table import ExportFormat, export_format, file_name
from export.proof.runtimes import RUNTIMES
from sdk.models.formats import FORMATS, resolve


@pytest.mark.parametrize("name", FORMATS)
def test_every_reference_can_be_imported(name: str) -> None:
    format_ = FORMATS[name]
    for reference in (format_.reader, *format_.runtimes.values()):
        assert callable(resolve(reference))
    kind = export_format(name)
    assert isinstance(kind, ExportFormat)
    assert kind.built_from in ("", *FORMATS)
    assert set(kind.runtimes("fp32")) <= set(RUNTIMES)


@pytest.mark.parametrize(
    ("precision", "format_name", "expected"),
    [("fp32", "onnx", "m.onnx"), ("int8", "onnx", "m-int8.onnx"), ("fp16", "openvino", "m-fp16-openvino.xml")],
)
def test_names_of_files(precision: str, format_name: str, expected: str) -> None:
    assert file_name("m", precision, format_name) == expected

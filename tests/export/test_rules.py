"""Which options go together: a wrong option names the right one."""

from pathlib import Path

import pytest

from export.formats.table import export_format
from export.proof.runtimes import RUNTIMES
from export.rules import check_settings
from export.settings import ExportSettings
from export.targets import targets
from sdk import InputError
from sdk.models.formats import FORMATS
from sdk.proof.verify import TOLERANCES


def test_table() -> None:
    for name, format_ in FORMATS.items():
        assert set(format_.precisions) <= set(TOLERANCES)
        assert set(export_format(name).proven_in) <= set(RUNTIMES)
        for precision in format_.precisions:
            assert check_settings(ExportSettings(name, precision)) is None
    for target in targets().values():
        for name in target.formats:
            fitting = [precision for precision in target.precisions if precision in FORMATS[name].precisions]
            assert fitting
            for precision in fitting:
                assert check_settings(ExportSettings(name, precision, target.name)) is target


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ExportSettings("tflite"), "unknown --format 'tflite', wanted one of: onnx, tensorrt"),
        (ExportSettings("onnx", "int4"), "no --precision int4, wanted one of: fp32, fp16, int8, int8"),
        (ExportSettings("openvino", "int8+fp16"), "no --precision int8.fp16, wanted one of: fp32, fp16, int8$"),
        (ExportSettings("onnx", batches=(1,)), "--batch is not for --format onnx; .* give --format tensorrt"),
        (ExportSettings("openvino", workspace_mib=9), "--workspace is not .* --format tensorrt or tensorrt-rtx$"),
        (ExportSettings("tensorrt-rtx", timing_cache=Path("t")), "--timing-cache is not .* give --format tensorrt$"),
        (ExportSettings("onnx", "fp16", calibration=Path("c")), "--calibration is not for .* fp16; .* int8 or"),
        (ExportSettings("onnx", target="rtx-10"), "unknown target 'rtx-10'"),
        (ExportSettings("openvino", target="rtx-40"), "runs tensorrt-rtx, .* not openvino; .* openvino-cpu"),
        (ExportSettings("tensorrt-rtx", "int8+fp16", "rtx-20"), "has no --precision int8.fp16, wanted one of: fp16"),
        (ExportSettings("onnx", "int8", "cpu"), "has no --precision int8, wanted one of: fp32. .* openvino-cpu"),
        (ExportSettings(evaluate=Path("m")), "--evaluate and --judge go together"),
    ],
)  # fmt: skip
def test_what_does_not_fit(settings: ExportSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_settings(settings)

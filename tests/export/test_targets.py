"""Targets are data that the runtimes agree with."""

import pytest

from export.targets import get_target, targets
from sdk import InputError
from sdk.models.formats import FORMATS
from sdk.runtimes.registry import DEVICES


def test_every_target_names_what_there_is() -> None:
    assert list(targets()) == [
        "cpu", "openvino-cpu", "jetson-orin", "jetson-thor", "rtx-20", "rtx-30", "rtx-40", "rtx-50",
    ]  # fmt: skip
    assert set(FORMATS) == set(DEVICES)
    for name, target in targets().items():
        assert target.name == name
        assert set(target.formats) <= set(FORMATS)
        assert target.formats
        assert set(target.precisions) <= {"fp32", "fp16", "int8", "int8+fp16"}
        assert target.precisions
        # TensorRT, and a GPU to build for, go together.
        assert bool(target.architectures) == bool(target.tensorrt) == ("tensorrt" in target.formats)


def test_one_target() -> None:
    orin = get_target("jetson-orin")
    assert (orin.architectures, orin.tensorrt, orin.python) == (("8.7",), "10", "3.10")
    assert (orin.opset, orin.ir_version) == (20, 9)
    with pytest.raises(InputError, match="unknown target 'rtx-10', wanted one of: cpu, openvino-cpu"):
        get_target("rtx-10")

"""Which runtime a model gets: by the format on its card and by the device that was asked for."""

from sdk.errors import DeviceError
from sdk.models.formats import ENGINES, FORMATS
from sdk.models.loading import Model
from sdk.runtimes.base import Runtime

DEVICES = {name: format_.devices for name, format_ in FORMATS.items()}
"""Kinds of device by format of the file. `openvino` is OpenVINO itself, `openvino-ep` onnxruntime's provider of it."""

NUMBERED = ("cuda", "tensorrt", "tensorrt-rtx")
"""Kinds that take the number of a GPU: `cuda:1`."""

ON_CPU = ("cpu", "openvino", "openvino-ep")
"""Devices on which every core is a caller of its own."""


def open_runtime(model: Model, device: str = "auto", *, precision: str | None = None, threads: int = 1) -> Runtime:
    """Load a model into the runtime for its format and device.

    Args:
        model: The model, read and checked.
        device: One of `DEVICES[model.card.format]`, of `NUMBERED` with or without the number of a GPU.
        precision: Compute in another precision than the card's; `bf16` on `openvino` is the only one there is.
        threads: How many callers there will be on a CPU.

    Raises:
        DeviceError: The device is unknown, not for this format, or not there; the precision is not to be had on it.
        ModelError: The runtime cannot load the file, or the file is not what its card says.
    """
    kind, number = parse_device(device)
    style = model.card.format
    if kind not in DEVICES[style]:
        raise DeviceError(
            f"{model.path} is a file for {style}, which runs on {', '.join(DEVICES[style])}, "
            f"not on {device!r}; give one of these, or export the model again for that device"
        )
    openvino = kind == "openvino" or style == "openvino"
    if precision not in (None, model.card.precision) and not (precision == "bf16" and openvino):
        raise DeviceError(
            f"{model.path} is {model.card.precision}; {precision!r} is not to be had from it on {device!r}: "
            "precision is in the file (fiqa-export --precision), but for bf16 with device='openvino'"
        )
    if openvino:
        from sdk.runtimes.openvino import OpenVinoRuntime

        return OpenVinoRuntime(model, precision, threads)
    if style in ENGINES:
        from sdk.runtimes.tensorrt import TensorRTRuntime

        return TensorRTRuntime(model, number)
    from sdk.runtimes.onnxruntime import OnnxRuntime

    return OnnxRuntime(model, device, threads)


def parse_device(device: str) -> tuple[str, int]:
    """The kind of a device and the number of its GPU, 0 where it says none.

    Raises:
        DeviceError: There is no such device.
    """
    kind, colon, number = device.partition(":")
    if kind not in {kind for kinds in DEVICES.values() for kind in kinds} or (
        colon and not (kind in NUMBERED and number.isascii() and number.isdigit() and len(number) < 4)
    ):
        raise DeviceError(f"unknown device {device!r}, wanted one of: {', '.join(DEVICES['onnx'])}; or cuda:1")
    return kind, int(number or 0)

"""The registry: which runtime a model gets, by its format and by the device, see `sdk.models.formats.FORMATS`."""

from collections.abc import Callable
from typing import TypeAlias

from sdk.errors import DeviceError
from sdk.models.formats import FORMATS, GPUS, resolve
from sdk.models.loading import Model
from sdk.runtimes.base import Runtime

Opener: TypeAlias = Callable[[Model, str, str | None, int], Runtime]
"""Loads a model into a runtime. Arguments: the model, read and checked; the device, such as `cuda:1`; the precision
that was asked for, None for the card's; how many threads will call on a CPU."""

DEVICES = {name: format_.devices for name, format_ in FORMATS.items()}
"""Kinds of device by format of the file. `openvino` is OpenVINO itself, `openvino-ep` its provider in onnxruntime."""

NUMBERED = GPUS
"""Kinds of device that may have the number of a GPU: `cuda:1`."""

ON_CPU = tuple(
    dict.fromkeys(kind for kinds in DEVICES.values() for kind in kinds if kind != "auto" and kind not in NUMBERED)
)
"""Kinds of device that compute on the CPU, where every core is a caller of its own."""


def open_runtime(model: Model, device: str = "auto", *, precision: str | None = None, threads: int = 1) -> Runtime:
    """Load a model into the runtime for its format and device.

    Args:
        model: The model, read and checked.
        device: One of `DEVICES[model.card.format]`; a kind in `NUMBERED` may have the number of a GPU.
        precision: Precision to compute in; None for the card's. The only other one is `bf16`, in OpenVINO.
        threads: How many threads will call on a CPU.

    Raises:
        DeviceError: The device is unknown, does not run this format, or is missing; or it cannot compute in the
            precision.
        ModelError: The runtime cannot load the file, or the file is not what its card says.
    """
    kind, _ = parse_device(device)
    name = model.card.format
    if kind not in DEVICES[name]:
        raise DeviceError(
            f"{model.path} is a file for {name}, which runs on {', '.join(DEVICES[name])}, "
            f"not on {device!r}; give one of these, or export the model again for that device"
        )
    runtime = FORMATS[name].runtimes[kind]
    in_bf16 = precision == "bf16" and runtime == FORMATS["openvino"].runtimes["auto"]
    if precision not in (None, model.card.precision) and not in_bf16:
        raise DeviceError(
            f"{model.path} is {model.card.precision} and cannot be computed in {precision!r} on {device!r}: "
            "precision is in the file (fiqa-export --precision); only device='openvino' can compute in another, bf16"
        )
    opener: Opener = resolve(runtime)
    return opener(model, device, precision, threads)


def parse_device(device: str) -> tuple[str, int]:
    """Return the kind of a device and the number of its GPU, 0 if it names none.

    Raises:
        DeviceError: There is no such device.
    """
    kind, colon, number = device.partition(":")
    if kind not in {kind for kinds in DEVICES.values() for kind in kinds} or (
        colon and not (kind in NUMBERED and number.isascii() and number.isdigit() and len(number) < 4)
    ):
        raise DeviceError(f"unknown device {device!r}, wanted one of: {', '.join(DEVICES['onnx'])}; or cuda:1")
    return kind, int(number or 0)

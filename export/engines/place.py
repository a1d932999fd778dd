"""Find out whether an engine can be built on this machine, and for which GPUs."""

from collections.abc import Sequence

from export.targets import Target
from sdk.errors import DeviceError, InputError, ModelError
from sdk.models.card import ModelCard
from sdk.onnx_bytes.onnx_file import read_versions
from sdk.runtimes.cuda.driver import gpu_architecture


class CannotBuildHereError(DeviceError):
    """The library or the GPU that an engine needs is not on this machine.

    Attributes:
        command: Command that builds the engine on a machine that has both.
    """

    def __init__(self, message: str, command: str) -> None:
        super().__init__(f"{message}: {command}")
        self.command = command


def build_command(file: str, format_name: str, target: Target | None, batches: Sequence[int]) -> str:
    """Return the command that builds an engine of an ONNX file, on a machine that can build it."""
    where = f" --target {target.name}" if target else ""
    return f"fiqa-export build {file} --format {format_name}{where} --batch {','.join(map(str, batches))}"


def architectures_for(card: ModelCard, format_name: str, target: Target | None, command: str) -> list[str]:
    """Return the compute capabilities to build for.

    Raises:
        CannotBuildHereError: The engine needs another GPU than this machine has.
        InputError: The target does not run the format or the precision.
    """
    if target is not None and format_name not in target.formats:
        raise InputError(
            f"{target.name} runs {', '.join(target.formats)}, not {format_name}; give --format one of these"
        )
    if target is not None and card.precision not in target.precisions:
        raise InputError(
            f"{target.name} ({target.summary}) runs {', '.join(target.precisions)}, not {card.precision}; "
            "give --precision one of these"
        )
    if format_name == "tensorrt-rtx" and target is not None:
        return list(target.architectures)
    here = gpu_architecture(0)
    if format_name == "tensorrt-rtx" and here is None:
        raise InputError("there is no GPU here to build for; name a target, such as --target rtx-40")
    if here is None or (target is not None and here not in target.architectures):
        wanted = f"one of compute capability {', '.join(target.architectures)}" if target else "a GPU"
        raise CannotBuildHereError(
            f"TensorRT builds an engine only on the GPU that it is for: wanted is {wanted}, here is {here or 'none'}; "
            "on such a machine run",
            command,
        )
    return [here]


def check_versions(model: bytes, target: Target | None) -> None:
    """Refuse an ONNX file that is newer than the target can read.

    Raises:
        ModelError: It is.
    """
    if target is None:
        return
    for what, found, newest in zip(
        ("opset", "IR"), read_versions(model), (target.opset, target.ir_version), strict=True
    ):
        if newest is not None and found > newest:
            raise ModelError(
                f"the ONNX file has {what} {found}, and {target.name} reads up to {newest}; export it with fiqa-export"
            )

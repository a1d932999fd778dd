"""The devices that files are exported for. A new device is a new table in `targets.toml`."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from sdk.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class Target:
    """A device, or a family of them that takes the same files.

    Attributes:
        name: Its name, as `--target` takes it.
        summary: Which devices these are.
        formats: Formats that run there, of `sdk.models.formats.FORMATS`; the best first.
        precisions: Precisions that run there; the recommended one first.
        architectures: Compute capabilities of its GPUs, such as `8.6`; empty for a CPU.
        opset: Newest ONNX operator set that the device reads; None if the device sets no limit.
        ir_version: Newest IR version that the device reads; None if the device sets no limit.
        tensorrt: Major versions of TensorRT there, such as `10`; empty if there is none.
        python: Version of Python there; empty if the device does not determine it.
        notes: What a user must know before an export for it.
    """

    name: str
    summary: str
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    architectures: tuple[str, ...] = ()
    opset: int | None = None
    ir_version: int | None = None
    tensorrt: str = ""
    python: str = ""
    notes: str = ""


@cache
def targets() -> Mapping[str, Target]:
    """Return all targets by name, in the order of `targets.toml`."""
    tables = tomllib.loads(Path(__file__).with_name("targets.toml").read_text(encoding="utf-8"))
    return MappingProxyType({name: _target(name, table) for name, table in tables.items()})


def get_target(name: str) -> Target:
    """Return the target of a name.

    Raises:
        InputError: There is no target of that name.
    """
    try:
        return targets()[name]
    except KeyError:
        raise InputError(f"unknown target {name!r}, wanted one of: {', '.join(targets())}") from None


def _target(name: str, table: Mapping[str, object]) -> Target:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return Target(name=name, **values)  # type: ignore[arg-type]

"""Engines: one builder for TensorRT 10, TensorRT 11 and TensorRT-RTX. Precision is in the graph, not in any flag."""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.engines.layer_report import Layer, check_precisions, products, read_report, summary
from sdk.errors import DeviceError, InputError, ModelError
from sdk.files import read_file, write_file
from sdk.models.card import EngineFacts, ModelCard
from sdk.models.trust import remember_engine
from sdk.onnx_bytes.onnx_file import check_onnx, read_versions
from sdk.runtimes.providers import gpu_architecture
from sdk.runtimes.tensorrt_library import LIBRARIES, complaints, load_library, recorded, shared_logger

if TYPE_CHECKING:
    from export.targets import Target

logger = logging.getLogger(__name__)

_LARGEST_CACHE = 1 << 30


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine and what is known of it.

    Attributes:
        data: The file.
        card: Its card, to be written as JSON beside it; unproven, for it has not scored a face yet.
        layers: What it consists of.
    """

    data: bytes
    card: ModelCard
    layers: tuple[Layer, ...]


class CannotBuildHereError(DeviceError):
    """The library or the GPU that an engine needs is not on this machine.

    Attributes:
        command: Builds it where they are.
    """

    def __init__(self, message: str, command: str) -> None:
        super().__init__(f"{message}: {command}")
        self.command = command


def build_engine(
    model: bytes,
    card: ModelCard,
    style: str,
    target: "Target | None" = None,
    *,
    batches: Sequence[int] = (1, 8, 32),
    workspace_mib: int | None = None,
    timing_cache: Path | None = None,
    command: str | None = None,
) -> BuiltEngine:
    """Build an engine and inspect it.

    TensorRT builds for the GPU that it runs on; TensorRT-RTX for a named target, without a GPU.

    Args:
        model: ONNX: `faces` uint8 (N, 112, 112, 3) -> `quality` float32 (N, 1), with its precision in the graph.
        card: Its card.
        style: `tensorrt` or `tensorrt-rtx`.
        target: What it is for; None for the GPU that is here.
        batches: Fixed batches that it is to run in.
        workspace_mib: Most scratch memory of a layer on the GPU; None for all there is.
        timing_cache: File in which TensorRT keeps how fast kernels were, so that it builds faster and in the same way
            the next time. It is made where it is missing.
        command: Builds this engine again; None for one that takes the model as NAME.onnx.

    Raises:
        CannotBuildHereError: The library or the GPU is not here; its `command` builds the engine there.
        InputError: Batches, precision or an option do not fit the target.
        ModelError: The library refuses the model, or the engine is not in the precision that was asked for.
    """
    sizes = sorted(set(batches))
    if not sizes or sizes[0] < 1:
        raise InputError(f"batches are {list(batches)}, wanted at least one positive number, such as 1,8,32")
    if timing_cache is not None and style != "tensorrt":
        raise InputError("TensorRT-RTX times nothing when it builds: leave out --timing-cache, or use tensorrt")
    command = command or build_command(f"{card.name}.onnx", style, target, sizes)
    architectures = _architectures(card, style, target, command)
    try:
        library = load_library(style)
    except DeviceError as error:
        raise CannotBuildHereError(f"{error}; then run", command) from error
    check_onnx(model)
    _check_versions(model, target)
    with recorded(library) as heard:
        builder = library.Builder(shared_logger(library))
        # TensorRT 10 needs the flag, newer ones know no other networks.
        network = builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = library.OnnxParser(network, shared_logger(library))
        if not parser.parse(model):
            errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
            raise ModelError(f"{LIBRARIES[style].name} cannot read the model: {errors}; export it again")
        config = _configure(library, builder, network, _profiles(style, sizes), workspace_mib)
        if style == "tensorrt-rtx":
            _set_capabilities(library, config, architectures)
        if timing_cache is not None:
            known = _read_cache(timing_cache)
            cache = config.create_timing_cache(known)
            if cache is None or not config.set_timing_cache(cache, False):
                raise InputError(f"{timing_cache} is of another GPU or version, or no timing cache; give another file")
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise ModelError(
                f"{LIBRARIES[style].name} cannot build this {card.precision} model for compute capability "
                f"{', '.join(architectures)}: {complaints(heard)}; choose another --precision or --target"
            )
        data = bytes(plan)
        if timing_cache is not None:
            write_file(timing_cache, bytes(config.get_timing_cache().serialize()))
        layers = read_report(_report(library, data, heard))
    check_precisions(layers, products(model), card.precision)
    digest = hashlib.sha256(data).hexdigest()
    remember_engine(digest)
    engine = EngineFacts(
        sha256=digest, version=library.__version__, architectures=tuple(architectures), batches=tuple(sizes),
        target=target.name if target else "", layers=summary(layers), command=command,
    )  # fmt: skip
    return BuiltEngine(data, dataclasses.replace(card, format=style, engine=engine, proven=False), layers)


def _read_cache(path: Path) -> bytes:
    if not os.path.exists(path):
        return b""
    return read_file(path, InputError, "give --timing-cache another file", _LARGEST_CACHE)


def build_command(file: str, style: str, target: "Target | None", batches: Sequence[int]) -> str:
    """The command that builds an engine of an ONNX file, on a machine where it can be built."""
    where = f" --target {target.name}" if target else ""
    return f"fiqa-export build {file} --format {style}{where} --batch {','.join(map(str, batches))}"


def _architectures(card: ModelCard, style: str, target: "Target | None", command: str) -> list[str]:
    """Compute capabilities to build for.

    Raises:
        CannotBuildHereError: They are those of another GPU.
        InputError: The target does not take the format or the precision.
    """
    if target is not None and style not in target.formats:
        raise InputError(f"{target.name} runs {', '.join(target.formats)}, not {style}; give --format one of these")
    if target is not None and card.precision not in target.precisions:
        raise InputError(
            f"{target.name} ({target.summary}) takes {', '.join(target.precisions)}, not {card.precision}; "
            "give --precision one of these"
        )
    if style == "tensorrt-rtx" and target is not None:
        return list(target.architectures)
    here = gpu_architecture(0)
    if style == "tensorrt-rtx" and here is None:
        raise InputError("there is no GPU here to build for; name a target, such as --target rtx-40")
    if here is None or (target is not None and here not in target.architectures):
        wanted = f"one of compute capability {', '.join(target.architectures)}" if target else "a GPU"
        raise CannotBuildHereError(
            f"TensorRT builds on the GPU that an engine is for: wanted is {wanted}, here is {here or 'none'}; "
            "on such a machine run",
            command,
        )
    return [here]


def _check_versions(model: bytes, target: "Target | None") -> None:
    """Refuse a file that is newer than the target's parser."""
    if target is None:
        return
    for what, found, newest in zip(
        ("opset", "IR"), read_versions(model), (target.opset, target.ir_version), strict=True
    ):
        if newest is not None and found > newest:
            raise ModelError(
                f"the ONNX file has {what} {found}, and {target.name} reads up to {newest}; export it with fiqa-export"
            )


def _profiles(style: str, sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    """Smallest, best and largest batch of every optimisation profile.

    TensorRT chooses its kernels now, so every batch gets its own. TensorRT-RTX compiles them for each batch when the
    engine first runs; a profile of one batch would put compiled kernels into the engine (97 MB instead of 7 MB).
    """
    if style == "tensorrt":
        return [(size, size, size) for size in sizes]
    return [(1, sizes[len(sizes) // 2], sizes[-1])]


def _configure(
    library: Any, builder: Any, network: Any, profiles: Sequence[tuple[int, int, int]], workspace_mib: int | None
) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED  # else the report names no types
    config.clear_flag(library.BuilderFlag.TF32)  # it would take 13 bits from fp32
    if workspace_mib is not None:
        config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    source = network.get_input(0)
    for batches in profiles:
        profile = builder.create_optimization_profile()
        profile.set_shape(source.name, *((batch, *tuple(source.shape)[1:]) for batch in batches))
        config.add_optimization_profile(profile)
    return config


def _set_capabilities(library: Any, config: Any, architectures: Sequence[str]) -> None:
    known = library.ComputeCapability.__members__
    config.num_compute_capabilities = len(architectures)
    for index, architecture in enumerate(architectures):
        name = f"SM{architecture.replace('.', '')}"
        if name not in known:
            raise InputError(
                f"TensorRT-RTX {library.__version__} does not build for compute capability {architecture}, but for "
                f"{', '.join(name for name in known if name.startswith('SM'))}; use --format tensorrt"
            )
        config.set_compute_capability(known[name], index)


def _report(library: Any, data: bytes, heard: Sequence[str]) -> str:
    """What the engine consists of: from the engine inspector, for which an engine has to be loaded on a GPU; without
    one from the builder, which says the same in the same words when it is done."""
    said = "\n".join(line for line in heard if line.lstrip().startswith("Layers:"))
    if said:
        return said
    engine = library.Runtime(shared_logger(library)).deserialize_cuda_engine(data)
    if engine is None:
        raise ModelError(f"the engine that was just built cannot be inspected: {complaints(list(heard))}")
    return engine.create_engine_inspector().get_engine_information(library.LayerInformationFormat.ONELINE)

"""Build engines of TensorRT 10, TensorRT 11 and TensorRT-RTX. Precision is in the graph, not in a flag."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.engines.layer_report import Layer, check_precisions, products, read_report, summary
from export.engines.place import CannotBuildHereError, architectures_for, build_command, check_versions
from export.settings import EngineOptions
from sdk.errors import DeviceError, InputError, ModelError
from sdk.files import read_file, write_file
from sdk.models.card import EngineFacts, ModelCard
from sdk.models.trust import remember_engine
from sdk.onnx_bytes.onnx_file import check_onnx
from sdk.runtimes.tensorrt_library import LIBRARIES, complaints, load_library, recorded, shared_logger

if TYPE_CHECKING:
    from export.targets import Target

_LARGEST_CACHE = 1 << 30


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine and its description.

    Attributes:
        data: The file.
        card: Its card, to be written as JSON beside it. It is unproven: the engine has not scored a face yet.
        layers: The engine's layers.
    """

    data: bytes
    card: ModelCard
    layers: tuple[Layer, ...]


def build_engine(
    model: bytes,
    card: ModelCard,
    format_name: str,
    target: "Target | None" = None,
    options: EngineOptions | None = None,
    command: str | None = None,
) -> BuiltEngine:
    """Build an engine and check the precision of its layers.

    TensorRT builds for the GPU that it runs on; TensorRT-RTX for a named target, without a GPU.

    Args:
        model: ONNX: `faces` uint8 (N, 112, 112, 3) -> `quality` float32 (N, 1), with its precision in the graph.
        card: Its card.
        format_name: `tensorrt` or `tensorrt-rtx`.
        target: Device that it is for; None for the GPU of this machine.
        options: How it is built; None for the defaults.
        command: Command that builds this engine again; None for one that takes the model as NAME.onnx.

    Raises:
        CannotBuildHereError: The library or the GPU is missing; its `command` builds the engine on another machine.
        InputError: Batches, precision or an option do not fit the target.
        ModelError: The library refuses the model, or the engine is not in the precision that was asked for.
    """
    options = options or EngineOptions()
    sizes = _check_options(format_name, options)
    command = command or build_command(f"{card.name}.onnx", format_name, target, sizes)
    architectures = architectures_for(card, format_name, target, command)
    try:
        library = load_library(format_name)
    except DeviceError as error:
        raise CannotBuildHereError(f"{error}; then run", command) from error
    check_onnx(model)
    check_versions(model, target)
    data, layers = _build(library, model, format_name, card.precision, options, architectures)
    check_precisions(layers, products(model), card.precision)
    digest = hashlib.sha256(data).hexdigest()
    remember_engine(digest)
    engine = EngineFacts(
        sha256=digest, version=library.__version__, architectures=tuple(architectures), batches=sizes,
        target=target.name if target else "", layers=summary(layers), command=command,
    )  # fmt: skip
    return BuiltEngine(data, dataclasses.replace(card, format=format_name, engine=engine, proven=False), layers)


def _check_options(format_name: str, options: EngineOptions) -> tuple[int, ...]:
    """Return the batches in order, each once."""
    sizes = tuple(sorted(set(options.batches)))
    if not sizes or sizes[0] < 1:
        raise InputError(f"batches are {list(options.batches)}, wanted at least one positive number, such as 1,8,32")
    if options.timing_cache is not None and format_name != "tensorrt":
        raise InputError("TensorRT-RTX has no timing cache: leave out --timing-cache, or use tensorrt")
    return sizes


def _build(
    library: Any, model: bytes, format_name: str, precision: str, options: EngineOptions, architectures: list[str]
) -> tuple[bytes, tuple[Layer, ...]]:
    """Return the engine and its layers."""
    sizes, title = sorted(set(options.batches)), LIBRARIES[format_name].name
    with recorded(library) as log:
        builder = library.Builder(shared_logger(library))
        network, parser = _parse(library, builder, model, title)
        config = _configure(library, builder, network, _profiles(format_name, sizes), options.workspace_mib)
        if format_name == "tensorrt-rtx":
            _set_capabilities(library, config, architectures)
        cache = _set_cache(config, options.timing_cache) if options.timing_cache is not None else None
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise ModelError(
                f"{title} cannot build this {precision} model for compute capability "
                f"{', '.join(architectures)}: {complaints(log)}; choose another --precision or --target"
            )
        data = bytes(plan)
        if options.timing_cache is not None:
            write_file(options.timing_cache, bytes(config.get_timing_cache().serialize()))
        del parser, cache  # the library reads both until the engine is built
        return data, read_report(_report(library, data, log))


def _parse(library: Any, builder: Any, model: bytes, title: str) -> tuple[Any, Any]:
    """Return the network of an ONNX file, and its parser, which must live until the engine is built."""
    # TensorRT 10 needs the flag; newer versions know strongly typed networks only.
    network = builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.OnnxParser(network, shared_logger(library))
    if not parser.parse(model):
        errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise ModelError(f"{title} cannot read the model: {errors}; export it again")
    return network, parser


def _set_cache(config: Any, path: Path) -> Any:
    """Let the builder use a timing cache, an empty one if the file is missing. Return the cache."""
    data = b""
    if os.path.exists(path):
        data = read_file(path, InputError, "give --timing-cache another file", _LARGEST_CACHE)
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        raise InputError(f"{path} is of another GPU or version, or is no timing cache; give another file")
    return cache


def _profiles(format_name: str, sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return smallest, best and largest batch of every optimisation profile.

    TensorRT chooses its kernels when it builds, so every batch gets a profile of its own. TensorRT-RTX compiles kernels
    for each batch when the engine first runs. There, a profile of one batch would put compiled kernels into the engine:
    97 MB instead of 7 MB.
    """
    if format_name == "tensorrt":
        return [(size, size, size) for size in sizes]
    return [(1, sizes[len(sizes) // 2], sizes[-1])]


def _configure(
    library: Any, builder: Any, network: Any, profiles: Sequence[tuple[int, int, int]], workspace_mib: int | None
) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED  # without it the report names no types
    config.clear_flag(library.BuilderFlag.TF32)  # it computes fp32 with 13 bits less
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


def _report(library: Any, data: bytes, log: Sequence[str]) -> str:
    """Return the report on an engine's layers.

    A builder without a GPU has logged it. Else the engine inspector gives it in the same words, for which the engine is
    loaded on the GPU.
    """
    logged = "\n".join(line for line in log if line.lstrip().startswith("Layers:"))
    if logged:
        return logged
    engine = library.Runtime(shared_logger(library)).deserialize_cuda_engine(data)
    if engine is None:
        raise ModelError(f"the engine that was just built cannot be inspected: {complaints(list(log))}")
    return engine.create_engine_inspector().get_engine_information(library.LayerInformationFormat.ONELINE)

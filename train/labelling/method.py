"""Label images by a method: make its labeller, choose the engine, run it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sdk.errors import InputError
from train.data.manifest import read_manifest
from train.labelling.executors import open_engine
from train.labelling.labeller import Labeller
from train.labelling.runner import label_manifest

Method = Callable[..., Labeller]
"""Makes a labeller: a class or a function. Its parameters are the method's options.

Some parameters are special. `device` (str) is given the device that the engine found. `embed` (bool) is given True
where embeddings are asked for. `expected_images` (int) is given the number of images.
"""

DEVICE, EMBED, EXPECTED = SPECIAL = ("device", "embed", "expected_images")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run that change no label.

    Attributes:
        batch: Faces in a batch; None for what suits the method.
        device: `auto`, `cpu`, `cuda`, ...; used where the method has a parameter `device`.
        callers: Threads, or processes of Ray; None for one a core, 2 on a GPU.
        engine: See `train.labelling.executors.open_engine`.
    """

    batch: int | None = None
    device: str = "auto"
    callers: int | None = None
    engine: str = "plain"


def label_images(
    method: Method,
    options: dict[str, Any],
    source: Path,
    out: Path,
    embeddings: Path | None = None,
    run: RunOptions | None = None,
) -> pa.Table:
    """Label the images of a folder or a manifest, see `train.labelling.runner.label_manifest`.

    Args:
        method: See `Method`.
        options: Its options by name, without the special ones.
        source: Folder of images, or a manifest.
        out: `.csv` or `.parquet` to write.
        embeddings: `.npy` to write.
        run: See `RunOptions`.

    Returns:
        The table that was written.

    Raises:
        InputError: The method makes no labeller, or as `label_manifest`.
        OutputError: The disk is full; started again, the run goes on.
    """
    run = run or RunOptions()
    manifest, taken = read_manifest(source), parameters_of(method)
    device = run.device if DEVICE in taken else None
    callers = 1 if takes_one_caller(method) and run.engine == "plain" else run.callers
    with open_engine(run.engine, callers, device) as engine:
        given = {DEVICE: engine.device, EMBED: embeddings is not None, EXPECTED: len(manifest)}
        labeller = method(**options, **{name: value for name, value in given.items() if name in taken})
        check_labeller(labeller)
        record = getattr(labeller, "record", _record(method, options))
        batch = run.batch or int(getattr(labeller, "batch_size", 16))
        return label_manifest(manifest, labeller, out, record, batch, embeddings, engine)


def parameters_of(method: Method) -> dict[str, inspect.Parameter]:
    """Return the parameters of a method by name.

    Raises:
        InputError: It is no class and no function, or its parameters have no names, such as `*args`.
    """
    if not (inspect.isclass(method) or inspect.isroutine(method)):
        raise InputError(f"the method is a {type(method).__name__}, wanted a class or a function that makes a labeller")
    try:
        found = inspect.signature(method, eval_str=True).parameters
    except (TypeError, ValueError, NameError) as error:  # a builtin, or an annotation that names nothing
        raise InputError(f"the parameters of {method!r} cannot be read: {error}; annotate them") from error
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for parameter in found.values():
        if parameter.kind not in named:
            raise InputError(f"{method!r} has the parameter {parameter}, wanted parameters that are given by name")
    return dict(found)


def takes_one_caller(method: Method) -> bool:
    """Return whether one thread at a time may call the labellers of a method, see `Labeller`."""
    return bool(getattr(method, "one_caller", False))


def check_labeller(labeller: object) -> None:
    """Refuse what is no labeller.

    Raises:
        InputError: It has no name, or cannot be called.
    """
    if not isinstance(getattr(labeller, "name", None), str) or not callable(labeller):
        raise InputError(
            f"the method made a {type(labeller).__name__}, wanted a labeller: an object with a text `name` that is "
            "called with faces and keys; see CONTRIBUTING.md, Add a labelling method"
        )


def _record(method: Method, options: dict[str, Any]) -> dict[str, Any]:
    """Return what a labeller was made with, as plain values."""
    plain = {name: value if isinstance(value, int | float | None) else str(value) for name, value in options.items()}
    return {"method": f"{method.__module__}:{getattr(method, '__qualname__', method)}", **plain}

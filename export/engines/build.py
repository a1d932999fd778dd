"""`fiqa-export build`: an engine from an exported ONNX file, on the machine that has the library. It needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from export.engines.tensorrt import BuiltEngine, build_command, build_engine
from export.targets import Target, get_target
from sdk.commands.console import cell, error_exits, print_plain
from sdk.errors import InputError
from sdk.files import check_outputs, check_place, make_folder, write_file
from sdk.files.folder_draft import folder_draft
from sdk.models.formats import ENGINES, FORMATS
from sdk.models.loading import load_model, write_card_beside
from sdk.proof.bench import numbers

BATCHES = "1,8,32"


@dataclass(frozen=True, slots=True)
class WrittenEngine:
    """An engine on disk.

    Attributes:
        path: The engine; its card is the `.json` beside it.
        built: What was built.
    """

    path: Path
    built: BuiltEngine


def build_file(
    file: Path,
    style: str,
    target: Target | None,
    batches: Sequence[int],
    *,
    workspace_mib: int | None = None,
    timing_cache: Path | None = None,
    out: Path | None = None,
) -> WrittenEngine:
    """Build an engine of an ONNX file and write it with its card, or nothing at all.

    Args:
        file: ONNX, with its card inside.
        style: `tensorrt` or `tensorrt-rtx`.
        target: See `build_engine`.
        batches: See `build_engine`.
        workspace_mib: See `build_engine`.
        timing_cache: See `build_engine`.
        out: Folder; None for that of the file.

    Raises:
        FiqaError: The file cannot be read, the engine cannot be built, or nothing can be written.
    """
    if style not in ENGINES:
        raise InputError(f"--format is {style!r}, wanted one of: {', '.join(ENGINES)}")
    model, folder = load_model(file), out or file.parent
    make_folder(folder)
    check_outputs({"--timing-cache": timing_cache}, [file])
    if timing_cache is not None:
        check_place(timing_cache)
    built = build_engine(
        model.data, model.card, style, target, batches=batches, workspace_mib=workspace_mib, timing_cache=timing_cache,
        command=build_command(file.name, style, target, batches),
    )  # fmt: skip
    architectures = "-".join(f"sm{name.replace('.', '')}" for name in built.card.engine.architectures)
    name = f"{file.stem}-{FORMATS[style].short}-{architectures}{FORMATS[style].suffix}"
    check_outputs({"--out": folder / name, "--timing-cache": timing_cache}, [file])
    with folder_draft(folder) as draft:
        write_file(draft / name, built.data)
        write_card_beside(draft / name, built.card)
    return WrittenEngine(folder / name, built)


def build(
    model: Annotated[Path, typer.Argument(help="ONNX file that fiqa-export wrote, in the precision of the engine.")],
    style: Annotated[str, typer.Option("--format", help="tensorrt or tensorrt-rtx.")],
    target: Annotated[
        str | None, typer.Option(help="Device it is for, see `fiqa-export formats`; left out, the GPU that is here.")
    ] = None,
    batch: Annotated[str, typer.Option(help="Fixed batches that it is to run in.")] = BATCHES,
    workspace: Annotated[int | None, typer.Option(help="Most scratch memory on the GPU, in MiB.", min=1)] = None,
    timing_cache: Annotated[Path | None, typer.Option(help="File that makes TensorRT's next build quicker.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; left out, that of the model.")] = None,
) -> None:
    """Build a TensorRT or TensorRT-RTX engine of an exported ONNX file, and inspect it.

    TensorRT builds on the GPU that the engine is for, TensorRT-RTX for any target. Exit codes: 0 written; 1 an error,
    nothing written; 2 wrong usage.
    """
    with error_exits(), Console(stderr=True).status(cell(f"building an engine of {model}")):
        written = build_file(
            model, style, get_target(target) if target else None, numbers(batch, "--batch"),
            workspace_mib=workspace, timing_cache=timing_cache, out=out,
        )  # fmt: skip
    console, card = Console(), written.built.card
    layers = ", ".join(f"{count} take {precision}" for precision, count in card.engine.layers.items())
    print_plain(console, f"{written.path}: {len(written.built.data):,} bytes, SHA-256 {card.engine.sha256}")
    print_plain(console, f"layers: {layers}")
    print_plain(console, f"it is unproven: run `fiqa verify {written.path}` on its device")

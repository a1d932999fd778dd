"""fiqa-export build: an engine from an exported ONNX file, on the machine that has the library."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from export.cli import options
from export.engines.build import build_engine_file
from export.settings import BATCHES, EngineOptions
from export.targets import get_target
from sdk.commands.console import cell, error_exits, print_plain


def build(
    model: Annotated[Path, typer.Argument(help="ONNX file from fiqa-export, in the precision of the engine.")],
    format_name: options.EngineName,
    target: options.EngineTarget = None,
    batch: options.Batch = None,
    workspace: options.Workspace = None,
    timing_cache: options.TimingCache = None,
    out: options.EngineOut = None,
) -> None:
    """Build a TensorRT or TensorRT-RTX engine from an exported ONNX file. It needs no torch.

    TensorRT builds on the GPU that the engine is for, TensorRT-RTX on any
    machine for any target.

    Exit codes: 0 written; 1 an error, nothing written; 2 wrong usage.
    """
    with error_exits(), Console(stderr=True).status(cell(f"building an engine from {model}")):
        chosen = EngineOptions(options.batches(batch) or BATCHES, workspace, timing_cache)
        written = build_engine_file(model, format_name, get_target(target) if target else None, chosen, out)
    console, card = Console(), written.built.card
    layers = ", ".join(f"{count} compute in {precision}" for precision, count in card.engine.layers.items())
    print_plain(console, f"{written.path}: {len(written.built.data):,} bytes, SHA-256 {card.engine.sha256}")
    print_plain(console, f"layers: {layers}")
    print_plain(console, f"it is unproven: run `fiqa verify {written.path}` on its device")

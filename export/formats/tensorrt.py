"""Engines of TensorRT and TensorRT-RTX, built from the exported ONNX file."""

import dataclasses
from pathlib import Path

from export.formats.facts import card_facts, counted
from export.formats.table import ExportFormat, Facts, Order, Written
from sdk.models.loading import load_model


def _write(order: Order) -> Written:
    from export.engines.build import build_engine_file

    if order.base is None:
        raise ValueError("an engine is built from an ONNX file")
    written = build_engine_file(order.base, order.settings.format, order.target, order.settings.engine_options)
    return Written(written.path, written.built.card)


def _inspect(path: Path) -> Facts:
    """Read the card of an engine. An engine is code, so nothing else of it is read."""
    loaded = load_model(path, trust=True)
    card, engine = loaded.card, loaded.card.engine
    library = "TensorRT-RTX" if card.format == "tensorrt-rtx" else "TensorRT 10, 11"
    where = f"compute capability {', '.join(engine.architectures)}"
    return {
        "bytes": f"{len(loaded.data):,}",
        **card_facts(card),
        "layers compute in": counted(engine.layers),
        "built": f"{engine.version or '?'} for {engine.target or where}",
        "batches": ", ".join(map(str, engine.batches)),
        "rebuild": engine.command,
        library: f"runs in version {engine.version or '?'} on {where} only",
    }


TENSORRT = ExportFormat(
    _write,
    _inspect,
    "TensorRT 10 and 11, on the GPU that the engine was built on",
    proven_in=("engine",),
    built_from="onnx",
    options=("calibration", "target", "batch", "workspace", "timing-cache"),
)
TENSORRT_RTX = dataclasses.replace(
    TENSORRT, runs="TensorRT-RTX, on the target's GPUs", options=("calibration", "target", "batch", "workspace")
)

"""The page of figures: what is wanted beside what was measured."""

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

Figures = dict[str, dict[str, Any]]
"""Value and details by line; the last measurement counts."""

NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table.

    Attributes:
        title: What is measured, with its unit.
        figure: Name of the figure, and of its detail after a full stop.
        wanted: The goal; None for none.
        beside: Names of the figures of plain alternatives, with their words.
        most: Whether the goal is the largest value that is good, or the smallest.
    """

    title: str
    figure: str
    wanted: float | None
    beside: tuple[tuple[str, str], ...] = ()
    most: bool = True


def _loops(line: str) -> tuple[tuple[str, str], ...]:
    return (f"{line} loop, TF32", "loop, TF32"), (f"{line} loop, float32", "loop, float32")


LINES = (
    Line("FaceQAN, IResNet-100, k = 10, l = 5, ms a face", "faceqan", 8, _loops("faceqan")),
    Line("the same, not compiled", "faceqan, not compiled", None),
    Line("FaceQAN, mobilefacenet128, ms a face", "faceqan mobile", 1.5, _loops("faceqan mobile")),
    Line("the same, not compiled", "faceqan mobile, not compiled", None),
    Line("its first labels, s", "faceqan mobile, not compiled.first_batch_s", 2),
    Line("the same with cuDNN's depthwise kernels, ms a face", "faceqan mobile, cuDNN", None),
    Line("its first labels, s", "faceqan mobile, cuDNN.first_batch_s", None),
    Line("DifFIQA, width 128, t = 5, n = 10, ms a face", "diffiqa", 100, _loops("diffiqa")),
    Line("the same, not compiled", "diffiqa, not compiled", None),
    Line("`fit diffiqa`, width 128, compiled, images/s", "fit diffiqa", 300, most=False),
    Line("the same, not compiled", "fit diffiqa, not compiled", None, most=False),
    Line("training waits for a checkpoint of it, s", "fit diffiqa, not compiled.checkpoint_holds_s", None),
    Line(
        "`fit ediffiqa` T, images/s", "fit ediffiqa T", 3800,
        (("fit ediffiqa T.the_same_batch_again", "without loading"),), most=False,
    ),
    Line("the same without a CUDA graph", "fit ediffiqa T, without a graph", None, most=False),
    Line(
        "`fit ediffiqa` L, images/s", "fit ediffiqa L", 2700,
        (("fit ediffiqa L.the_same_batch_again", "without loading"),), most=False,
    ),
    Line("SDK, L in fp16, batches, faces/s", "L fp16: batches", 8000, (("L in PyTorch", "PyTorch, fp16"),), most=False),
    Line("SDK, L in float32, batches, faces/s", "L fp32: batches", None, most=False),
    Line("SDK, T in fp16, batches, faces/s", "T fp16: batches", 35e3, (("T in PyTorch", "PyTorch, fp16"),), most=False),
    Line("the same, the other layout", "T fp16, the other layout: batches", None, most=False),
    Line("SDK, T in float32, batches, faces/s", "T fp32: batches", None, most=False),
    Line("SDK, fiqa-nano in float32, batches, faces/s", "nano: batches", None, most=False),
    Line("SDK, T in fp16, one face, ms", "T fp16: one face", 0.7, (("T in a CUDA graph", "a CUDA graph alone"),)),
    Line("SDK, T in float32, one face, ms", "T fp32: one face", 0.7),
    Line("SDK, L in fp16, one face, ms", "L fp16: one face", 3),
    Line("SDK, fiqa-nano, one face, ms", "nano: one face", None),
    Line("`warmup()`, T in fp16, s", "T fp16: warmup", 4),
    Line("`warmup()`, T in float32, s", "T fp32: warmup", 4),
    Line("`warmup()`, L in fp16, s", "L fp16: warmup", 4),
    Line("`warmup()`, fiqa-nano, s", "nano: warmup", 4),
    Line("largest call after it, times the median of its size: T in fp16", "T fp16: largest call", 3),
    Line("the same, L in fp16", "L fp16: largest call", 3),
    Line("the same, fiqa-nano", "nano: largest call", 3),
)  # fmt: skip


def read_figures(path: Path) -> Figures:
    """Read the list that the parts have written."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {row["line"]: row for row in rows}


def write_page(path: Path, figures: Figures, parts: dict[str, str], dry: bool) -> None:
    """Write the page.

    Args:
        path: The page.
        figures: See `Figures`.
        parts: How each part ended.
        dry: Say that the figures mean nothing.
    """
    text = ["# Figures of a GPU", "", *(["**A dry run on the CPU: the figures mean nothing.**", ""] if dry else [])]
    text += [f"- {line}" for line in machine()]
    text += ["- Random weights but for mobilefacenet128 where it was given: they change no speed, only ranks.", ""]
    text += ["| | plain alternative | wanted | now |", "| --- | --- | --- | --- |"]
    text += [_row(line, figures) for line in LINES]
    text += ["", "## All figures", ""]
    text += [f"- {name}: {_details(row)}" for name, row in figures.items()]
    text += ["", "## Parts", "", *(f"- {name}: {end}" for name, end in parts.items()), ""]
    path.write_text("\n".join(text))


def _row(line: Line, figures: Figures) -> str:
    found = _value(line.figure, figures)
    beside = [
        f"{_number(value)} ({words})" for name, words in line.beside if (value := _value(name, figures)) is not None
    ]
    wanted = "" if line.wanted is None else f"{'<=' if line.most else '>='} {_number(line.wanted)}"
    now = NOT_MEASURED if found is None else _number(found)
    if found is not None and line.wanted is not None:
        met = found <= line.wanted if line.most else found >= line.wanted
        now = f"**{now}**" if met else f"{now}, not reached"
    return f"| {line.title} | {', '.join(beside)} | {wanted} | {now} |"


def _value(name: str, figures: Figures) -> float | None:
    figure, _, detail = name.partition(".")
    value = figures.get(figure, {}).get(detail or "value")
    return float(value) if isinstance(value, int | float) else None


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _details(row: dict[str, Any]) -> str:
    parts = [
        _short(row["value"]),
        *(f"{key} {_short(value)}" for key, value in row.items() if key not in ("line", "value")),
    ]
    return ", ".join(parts)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def machine() -> list[str]:
    """Return lines on the card, its driver, and versions."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        card = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        card = f"no GPU seen by nvidia-smi ({type(error).__name__})"
    versions = [f"Python {platform.python_version()}", f"torch {torch.__version__}", f"CUDA {torch.version.cuda}"]
    versions.append(f"cuDNN {torch.backends.cudnn.version()}")
    for name in ("onnxruntime-gpu", "onnxruntime", "onnx", "triton", "numpy"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return [f"{card}; {os.cpu_count()} CPU cores, {platform.machine()}", ", ".join(versions)]

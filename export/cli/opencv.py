"""fiqa-export opencv: a file for OpenCV DNN 4.6 to 5."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sdk.commands.console import error_exits, missing_packages, print_plain
from sdk.files import check_place, check_suffix


def opencv(
    model: Annotated[str, typer.Argument(help="fiqa-nano, fiqa-detector, or an exported .onnx file in fp32.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="NAME-opencv.onnx in this folder")
    ] = None,
    side: Annotated[int, typer.Option(help="For a detector: height and width of its picture, pixels.")] = 512,
) -> None:
    """Write a file that OpenCV DNN 4.6 to 5 reads: one picture a call, all sizes fixed, older operators.

    The file takes float32 BGR (1, height, width, 3), values from 0 to 255. It is compared with the model first.
    examples/cpp shows a program that runs it.

    Exit codes: 0 written; 1 an error, nothing written; 2 wrong usage.
    """
    with error_exits(), missing_packages("export"):
        path = Path(f"{Path(model).stem}-opencv.onnx") if out is None else out
        check_suffix("--out", path, (".onnx",))
        check_place(path)
        from export.opencv import export_for_opencv

        written = export_for_opencv(model, path, side)
    _, height, width, _ = written.shape
    text = f"{written.path}: pictures of {width} x {height}; largest difference from {model} {written.difference:.1e}"
    print_plain(Console(), text)

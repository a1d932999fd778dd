"""fiqa-export: one command, from weights to a verified ONNX file."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sdk.console import error_exits, print_plain
from sdk.errors import ModelError

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)

_LINEAR = ("mobilefacenet128", "mobilefacenet", "iresnet18", "iresnet50", "iresnet100")
DETECTOR = "fiqa-detector"
MODELS = (
    "fiqa-nano",
    DETECTOR,
    *(f"ediffiqa-{size}" for size in "tsml"),
    *(f"{backbone}-linear" for backbone in _LINEAR),
)


def _known(name: str) -> str:
    if name not in MODELS:
        raise typer.BadParameter(f"{name!r}, wanted one of: {', '.join(MODELS)}")
    return name


@app.command()
def export(
    model: Annotated[str, typer.Option(callback=_known, help=f"The network: {', '.join(MODELS)}.")],
    weights: Annotated[
        Path | None,
        typer.Option(help=".pth, .safetensors or a published .onnx; left out, the published file is fetched."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for <model>.onnx and <model>.json.")] = Path("."),
    faces: Annotated[
        Path | None, typer.Option(help="Folder of aligned 112 x 112 crops to verify on; left out, packaged ones.")
    ] = None,
) -> None:
    """Export a quality network to ONNX (opset 20, uint8 BGR NHWC, any batch) and verify it.

    The file is compared with the network that it was made from, on real faces, in onnxruntime, in fiqa's own session
    and in OpenCV DNN, with batches of 1, 3 and 16. Exit codes: 0 written; 1 an error or a failed check, nothing
    written; 2 wrong usage.
    """
    if model == DETECTOR:
        _export_detector(weights, out)
        return
    with error_exits(), Console(stderr=True).status(f"exporting and verifying {model}"):
        try:
            from export.pipeline import export_model
        except ModuleNotFoundError as error:
            raise ModelError(f"{error.name} is not installed; pip install 'fiqa[export]'") from error
        exported = export_model(model, weights, out, faces)
    table = Table("runtime and batch", "largest difference", title=f"{exported.path}, {exported.faces} faces")
    for key, difference in exported.differences.items():
        table.add_row(key, f"{difference:.1e}")
    console = Console()
    console.print(table)
    print_plain(console, f"{exported.path}: {exported.size:,} bytes, SHA-256 {exported.sha256}")
    print_plain(console, f"report: {exported.report}")


def _export_detector(weights: Path | None, out: Path) -> None:
    if weights is None:
        raise typer.BadParameter("the detector comes with the package, exported already; give --weights FILE")
    with error_exits(), Console(stderr=True).status(f"exporting and verifying {DETECTOR}"):
        try:
            from export.detector import export_detector
        except ModuleNotFoundError as error:
            raise ModelError(f"{error.name} is not installed; pip install 'fiqa[export]'") from error
        typer.echo(export_detector(weights, out))

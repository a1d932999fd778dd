"""Options of `fiqa-export`, and of `fiqa-export build`."""

from pathlib import Path
from typing import Annotated

import typer

from export.networks import NETWORKS
from export.targets import targets
from sdk.errors import InputError
from sdk.models.formats import ENGINES, FORMATS, PRECISIONS
from sdk.proof.bench import numbers

_PRECISIONS = [name for name, precision in PRECISIONS.items() if precision.in_files]

Model = Annotated[str | None, typer.Option(help=f"Network to export: {', '.join(NETWORKS)}.")]
Weights = Annotated[
    Path | None,
    typer.Option(help="Weights: .pth, .safetensors or .onnx file. Default: the packaged or published weights."),
]
FormatName = Annotated[str, typer.Option("--format", help=f"File format: {', '.join(FORMATS)}.")]
EngineName = Annotated[str, typer.Option("--format", help=f"Format of the engine: {' or '.join(ENGINES)}.")]
Precision = Annotated[str, typer.Option(help=f"Precision: {', '.join(_PRECISIONS)}.")]
Target = Annotated[
    str | None, typer.Option(help=f"Device that the file is for: {', '.join(targets())}. Default: any device.")
]
EngineTarget = Annotated[
    str | None,
    typer.Option("--target", help="Device that the engine is for, see `fiqa-export formats`. Default: this GPU."),
]
Calibration = Annotated[
    Path | None,
    typer.Option(help="For int8: folder of aligned 112 x 112 crops to measure ranges on. Default: one packaged face."),
]
Batch = Annotated[
    str | None, typer.Option(help="For engines: fixed batch sizes, with commas between. Default: 1,8,32.")
]
Workspace = Annotated[
    int | None, typer.Option(min=1, help="For engines: limit of scratch memory on the GPU, in MiB. Default: no limit.")
]
TimingCache = Annotated[
    Path | None, typer.Option(help="For tensorrt: file that keeps kernel timings; it makes the next build faster.")
]
Faces = Annotated[
    Path | None,
    typer.Option(help="Folder of aligned 112 x 112 crops to verify the file on. Default: one packaged face."),
]
Evaluate = Annotated[
    Path | None,
    typer.Option(help="Manifest, or folder with one sub-folder for each person: measure the change of pAUC on it."),
]
Judge = Annotated[
    str | None,
    typer.Option(help="For --evaluate: embeddings (.npy, .npz), or a face-recognition network, to compare faces with."),
]
Embedding = Annotated[
    bool, typer.Option("--embedding", help="Give the embedding as a second output; from a checkpoint, onnx in fp32.")
]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="Write the file even if its proof fails, marked unproven.")
]
Out = Annotated[Path | None, typer.Option(help="Folder to write. Default: a folder with the name of the network.")]
EngineOut = Annotated[Path | None, typer.Option("--out", help="Folder to write. Default: the folder of the ONNX file.")]
Licence = Annotated[
    bool,
    typer.Option(
        "--licence",
        "--license",
        help="Show the licence of fiqa and of each model, or of --model NAME, and whether you may ship it. "
        "Nothing is exported.",
    ),
]


def batches(text: str | None) -> tuple[int, ...] | None:
    """Read `--batch`.

    Raises:
        BadParameter: It is no list of positive numbers.
    """
    try:
        return tuple(numbers(text, "--batch")) if text else None
    except InputError as error:
        raise typer.BadParameter(str(error)) from error

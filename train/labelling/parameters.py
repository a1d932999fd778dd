"""Parameters that several labelling methods and commands have, with their help for typer."""

from pathlib import Path
from typing import Annotated

import typer

from sdk.commands.options import RGB, rgb_deviations, rgb_numbers, rgb_option

Source = Annotated[Path, typer.Argument(help="Folder of images, manifest (.csv, .parquet), or list (.txt).")]
Out = Annotated[Path, typer.Option(help="Labelled manifest to write (.csv, .parquet), or a pickle of labels (.pkl).")]
Embeddings = Annotated[Path | None, typer.Option(help="Also write the embeddings here (.npy).")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]

RecognitionName = Annotated[
    str, typer.Option("--model", "--fr", help="FR model: name, ONNX file, file of torch, or module:function of yours.")
]
Weights = Annotated[Path | None, typer.Option(help="Checkpoint of the FR model, where it is one of our networks.")]
Mean = Annotated[RGB | None, rgb_option("Mean that the FR model subtracts, for pixels in [0, 1]", rgb_numbers)]
Std = Annotated[RGB | None, rgb_option("Deviation that the FR model divides by", rgb_deviations)]

Colour = Annotated[str | None, typer.Option(help="Order of the channels that the FR model takes: RGB or BGR.")]
Size = Annotated[int | None, typer.Option(help="Side of the faces that the FR model takes, pixels; by default 112.")]

Compile = Annotated[
    bool | None,
    typer.Option(help="Compile the network with torch.compile, a minute at most; by default on a GPU for many images."),
]

Batch = Annotated[int, typer.Option(min=1, help="Faces in a batch.")]
MethodBatch = Annotated[int | None, typer.Option(min=1, help="Faces in a batch; by default what suits the method.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Callers = Annotated[
    int | None,
    typer.Option(min=1, help="Threads, or processes of Ray; by default one a core. On a GPU: 8, or 2 of Ray."),
]
EngineName = Annotated[
    str, typer.Option("--engine", help="plain: threads. ray: Ray Data on the cluster of RAY_ADDRESS.")
]

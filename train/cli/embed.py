"""fiqa-train embed: write the embeddings of images."""

from pathlib import Path
from typing import Annotated

import typer

from sdk.commands.console import error_exits
from sdk.files import check_outputs
from train.cli.summary import print_summary
from train.labelling.parameters import (
    Batch,
    Callers,
    Colour,
    Device,
    EngineName,
    Mean,
    RecognitionName,
    Size,
    Source,
    Std,
    Weights,
)  # fmt: skip


def embed_command(
    source: Source,
    out: Annotated[Path, typer.Option(help="File to write (.npy).")],
    model: RecognitionName = "mobilefacenet128",
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    colour: Colour = None,
    size: Size = None,
    batch: Batch = 32,
    device: Device = "auto",
    callers: Callers = None,
    engine: EngineName = "plain",
) -> None:
    """Embed images by a face-recognition model: write float32 (N, D), NaN where an image failed."""
    import numpy as np

    from train.data.manifest import read_manifest
    from train.labelling.embedder import embed_manifest
    from train.networks.recognition import load_recognition_model

    with error_exits():
        check_outputs({"--out": out}, filter(None, (source, weights)))
        network = load_recognition_model(model, weights, mean, std, False, colour, size)
        vectors = embed_manifest(read_manifest(source), network, out, batch, device, engine, callers)
        print_summary(out, len(vectors), int(np.isnan(vectors[:, 0]).sum()), "embedded")

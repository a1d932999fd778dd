"""The face detector: images of any size in, the values of all cells out."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import nn

from export.graph.any_size import add_border
from export.graph.ends import End, Ends
from export.graph.from_torch import TakesImages, trace
from export.proof.compare import rounded
from export.proof.crops import packaged_face
from export.sources.checkpoint import load_trained
from export.sources.source import Reference, Source, trained_facts
from export.tasks.base import Images, Outputs
from sdk.detection.networks import STRIDES
from sdk.errors import InputError
from sdk.models.card import InputSpec, ModelCard
from sdk.proof.verify import Agreement, spearman
from train.detector.network import VALUES, FaceCells

ENDS = Ends(
    End("images", TensorProto.UINT8, ("batch", "height", "width", 3)),
    End("cells", TensorProto.FLOAT, ("batch", "cells", VALUES)),
)
"""Input and output of the file."""

SIZES = ((64, 96), (97, 50), (240, 320), (1, 33))
"""Heights and widths that the file is verified on. Those that are no multiple of 32 test the border that it adds."""


class DetectionSteps:
    """See `export.tasks.base.TaskSteps`."""

    def read_images(self, folder: Path | None) -> Images:
        """Make two images of each size out of the packaged face."""
        if folder is not None:
            raise InputError("--faces is for quality networks; leave it out")
        return [np.resize(packaged_face(), (2, height, width, 3)) for height, width in SIZES]

    def load_source(self, name: str, weights: Path | None, embedding: bool = False) -> Source:
        """Read a checkpoint of `fiqa-train fit detector`."""
        network = FaceCells()
        path, digest = load_trained(network, name, weights)
        spec = dataclasses.asdict(InputSpec(height=0, width=0))
        fixed = {"task": "detection", "input": spec, "output": ENDS.output.name}
        model = add_border(_trace(TakesImages(network.eval())), STRIDES[-1], ENDS)
        return Source(path, digest, model, ENDS, _reference(network), {**trained_facts(path), **fixed})

    def compare(self, path: Path, card: ModelCard, images: Images, expected: Outputs) -> dict[str, Agreement]:
        """Run images of all sizes in onnxruntime, on one session."""
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        agreements = {}
        for same_size, wanted in zip(images, expected, strict=True):
            found = session.run([ENDS.output.name], {ENDS.source.name: same_size})[0]
            height, width = same_size.shape[1:3]
            agreements[f"onnxruntime, {width} x {height}"] = compare_cells(found, wanted)
        return agreements

    def figures(self, agreements: dict[str, Agreement]) -> dict[str, float]:
        """Return the largest difference for each size."""
        return {place: rounded(found.largest) for place, found in agreements.items() if found.finite}

    def proof(self, images: Images, expected: Outputs, source_sha256: str) -> bytes | None:
        """Return None: `fiqa verify` scores faces."""
        return None


def compare_cells(found: NDArray[np.float32], expected: NDArray[np.float32]) -> Agreement:
    """Compare the values of all cells, each difference as a share of the value if that is larger than 1."""
    apart = (found - expected) / np.maximum(1, np.abs(expected))
    if not np.isfinite(apart).all():
        return Agreement(len(found), np.inf, np.inf, np.inf, -1.0, False)
    size = np.abs(apart)
    rank = spearman(found.reshape(-1), expected.reshape(-1))
    return Agreement(len(found), float(size.max()), float(size.mean()), float(apart.mean()), rank, True)


def _trace(network: nn.Module) -> onnx.ModelProto:
    """Turn the network into ONNX: uint8 (batch, 32 h, 32 w, 3) -> float32 (batch, cells, 15)."""
    batch, rows, columns = (torch.export.Dim(name, min=1) for name in ("batch", "rows", "columns"))
    sample = torch.zeros(2, 3 * STRIDES[-1], 5 * STRIDES[-1], 3, dtype=torch.uint8)
    free = {0: batch, 1: STRIDES[-1] * rows, 2: STRIDES[-1] * columns}
    return trace(network, sample, ENDS.source.name, [ENDS.output.name], free)


def _reference(network: FaceCells) -> Reference:
    """Return the torch network. Its input is computed here a second way, to check the graph's."""

    def cells(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in images.shape[1:3])
        bordered = np.zeros((len(images), height, width, 3), np.float64)
        bordered[:, : images.shape[1], : images.shape[2]] = images
        values = (bordered[..., ::-1].transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5
        with torch.inference_mode():
            return network(torch.from_numpy(values.astype(np.float32))).numpy()

    return cells

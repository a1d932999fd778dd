"""The network behind reasons: aligned faces in, grades of damage and yaw out."""

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from export.graph.ends import End, Ends, finish_graph
from export.graph.from_torch import TakesImages, trace
from export.proof.compare import rounded
from export.proof.crops import verification_faces
from export.sources.checkpoint import load_trained
from export.sources.source import Reference, Source, trained_facts
from export.tasks.base import Images, Outputs
from export.tasks.detection import compare_cells
from sdk.models.card import InputSpec, ModelCard
from sdk.proof.verify import Agreement
from train.reasons.network import DamageNet
from train.reasons.outputs import OUTPUTS

ENDS = Ends(
    End("faces", TensorProto.UINT8, ("batch", 112, 112, 3)),
    End("grades", TensorProto.FLOAT, ("batch", len(OUTPUTS))),
)
"""Input and output of the file."""


class ReasonsSteps:
    """See `export.tasks.base.TaskSteps`. The images are one array of crops of 112 x 112."""

    def read_images(self, folder: Path | None) -> Images:
        """Read the user's crops, or make the packaged ones."""
        return [verification_faces(folder)]

    def load_source(self, name: str, weights: Path | None, embedding: bool = False) -> Source:
        """Read a checkpoint of `fiqa-train fit reasons`."""
        network = DamageNet()
        path, digest = load_trained(network, name, weights)
        fixed = {"task": "reasons", "input": dataclasses.asdict(InputSpec()), "output": ENDS.output.name}
        sample = torch.zeros(2, 112, 112, 3, dtype=torch.uint8)
        free = {0: torch.export.Dim("batch", min=1)}
        model = trace(TakesImages(network.eval()), sample, ENDS.source.name, [ENDS.output.name], free)
        finish_graph(model, list(model.graph.node), ENDS)
        return Source(path, digest, model, ENDS, _reference(network), {**trained_facts(path), **fixed})

    def compare(self, path: Path, card: ModelCard, images: Images, expected: Outputs) -> dict[str, Agreement]:
        """Run the faces in onnxruntime, in one batch and one by one."""
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        agreements = {}
        for size in (1, len(images[0])):
            batches = [images[0][start : start + size] for start in range(0, len(images[0]), size)]
            found = [session.run([ENDS.output.name], {ENDS.source.name: batch})[0] for batch in batches]
            agreements[f"onnxruntime, batch {size}"] = compare_cells(np.concatenate(found), expected[0])
        return agreements

    def figures(self, agreements: dict[str, Agreement]) -> dict[str, float]:
        """Return the largest difference in each batch size."""
        return {place: rounded(found.largest) for place, found in agreements.items() if found.finite}

    def proof(self, images: Images, expected: Outputs, source_sha256: str) -> bytes | None:
        """Return None: `fiqa verify` scores faces."""
        return None


def _reference(network: DamageNet) -> Reference:
    """Return the torch network. Its input is computed here a second way, to check the graph's."""

    def grades(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = (images[..., ::-1].transpose(0, 3, 1, 2).astype(np.float64) / 255 - 0.5) / 0.5
        with torch.inference_mode():
            return network(torch.from_numpy(values.astype(np.float32))).numpy()

    return grades

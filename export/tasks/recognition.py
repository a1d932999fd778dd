"""Face-recognition models with the quality of each face beside its embedding, from one pass."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.graph.from_torch import trace_network
from export.graph.front_end import OUTPUT, add_front_end, embedding_ends
from export.proof.crops import verification_faces
from export.sources.checkpoint import UNKNOWN_LICENCE, normalised
from export.sources.source import Source, published_facts
from export.tasks.quality import QualitySteps
from export.tasks.recognition_graph import with_quality
from sdk.calibrating.embedding_session import EMBEDDING, read_recognition
from sdk.errors import ModelError
from sdk.files import read_file
from sdk.models.card import InputSpec
from sdk.models.catalog import catalog
from sdk.models.loading import LARGEST
from sdk.models.store import fetch_model
from train.methods.froq import observe, read_layers
from train.networks.recognition import OnnxNetwork, RecognitionModel, is_file, load_recognition_model
from train.networks.recognition.face_input import FaceInput
from train.networks.recognition.onnx_torch import OnnxGraph

_PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Mean and deviation of RGB in [0, 1], which a `RecognitionModel` takes: it normalises by itself."""


@dataclass(frozen=True, slots=True)
class FaceRecognition:
    """A face-recognition model to export with its quality.

    Attributes:
        model: Of any kind, see `train.networks.recognition.load_recognition_model`.
        weights: Checkpoint, where it is one of our networks.
        layers: File of layers that `fiqa-train label froq` has chosen: the quality is FROQ's, the mean length of their
            outputs. None for the length of the embedding.
        given: What is known of its input: `mean`, `std`, `colour`, `size`, see there.
    """

    model: str
    weights: Path | None = None
    layers: Path | None = None
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the exported file: `<model>-froq` or `<model>-norm`."""
        stem = Path(self.model).stem if is_file(self.model) else self.model.replace(":", "-")
        return f"{stem}-{'norm' if self.layers is None else 'froq'}"

    @property
    def file(self) -> Path | None:
        """The file of the weights; None where there is none, or it has to be fetched."""
        return Path(self.model) if is_file(self.model) else self.weights


class RecognitionSteps(QualitySteps):
    """See `export.tasks.base.TaskSteps`.

    Args:
        recognition: The model.
    """

    def __init__(self, recognition: FaceRecognition) -> None:
        self._recognition = recognition

    def load_source(self, name: str, weights: Path | None, embedding: bool = True) -> Source:
        """Load the model, and trace it with its quality.

        Raises:
            InputError: The model is unknown, or the layers are of another one.
            ModelError: The model cannot be loaded, or cannot be turned into ONNX.
        """
        asked = self._recognition
        model = load_recognition_model(asked.model, weights, gradients=asked.layers is not None, **asked.given)
        model = model.eval().requires_grad_(False)
        layers = None if asked.layers is None else read_layers(asked.layers, model)
        both = _QualityAndEmbedding(model, layers)
        faces = normalised(verification_faces(None), *_PLAIN)
        quality, vectors = (part.numpy() for part in both(torch.from_numpy(faces)))
        ends = embedding_ends(vectors.shape[1])
        if isinstance(model.network, OnnxNetwork | OnnxGraph):
            file = read_recognition(asked.model)
            spec = FaceInput(**asked.given).applied(OnnxNetwork(file).input)
            values = [_value(model.network, layer) for layer in layers or [_NETWORK]]
            graph = add_front_end(with_quality(file, spec, values), spec.mean, spec.std, ends)
        else:
            graph = add_front_end(_traced(both, asked.model), *_PLAIN, ends)
        digest, path = _digest(asked, model)
        known = published_facts(digest)
        facts = {
            "licence": UNKNOWN_LICENCE, "source": path.name, **known, "task": "quality", "output": OUTPUT,
            "input": dataclasses.asdict(InputSpec()),
            "summary": f"{known.get('summary') or path.name}, with its quality: "
            + ("the length of the embedding" if layers is None else f"FROQ, {len(layers)} layers"),
            "score_range": [float(quality.min()), float(max(quality.max(), quality.min() + 1e-6))],
        }  # fmt: skip

        def run(images: NDArray[np.uint8], output: int) -> NDArray[np.float32]:
            batches = np.array_split(images, -(-len(images) // 16))
            return np.concatenate(
                [both(torch.from_numpy(normalised(part, *_PLAIN)))[output].numpy() for part in batches]
            )

        self._embedding = lambda images: run(images, 1)
        return Source(path, digest, graph, ends, lambda images: run(images, 0).reshape(-1), facts, self._embedding)


class _QualityAndEmbedding(nn.Module):
    """RGB faces (N, 3, 112, 112) in [0, 1] -> quality (N, 1), embeddings (N, D)."""

    def __init__(self, model: RecognitionModel, layers: Sequence[str] | None) -> None:
        super().__init__()
        self.model, self._layers = model, layers

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        if self._layers is None:
            embedding = self.model(faces)
            return embedding.norm(dim=1, keepdim=True), embedding
        found, embedding = observe(self.model, faces, self._layers)
        return torch.stack(list(found.values())).mean(dim=0)[:, None], embedding


_NETWORK = "network"
"""Name of the network in a `RecognitionModel`."""


def _value(network: nn.Module, layer: str) -> str:
    """Return the name of the value in an ONNX file that a layer gives; of the whole network "", its embedding."""
    name = layer.removeprefix(_NETWORK).removeprefix(".")
    return network.values[name] if name and isinstance(network, OnnxGraph) else ""


def _traced(both: nn.Module, name: str) -> Any:
    try:
        return trace_network(both, (OUTPUT, EMBEDDING))
    except Exception as error:  # torch's exporter raises any class
        raise ModelError(
            f"torch cannot turn {name} into ONNX ({type(error).__name__}); give its ONNX file, or a network whose code "
            "torch.export can trace"
        ) from error


def _digest(asked: FaceRecognition, model: RecognitionModel) -> tuple[str, Path]:
    """Return the SHA-256 of the model's file, or of its weights where it has none, and the path of the file."""
    path = asked.file
    if path is None and asked.model in catalog():
        path = fetch_model(asked.model)
    if path is not None:
        return hashlib.sha256(read_file(path, ModelError, "give the model's file", LARGEST)).hexdigest(), path
    total = hashlib.sha256()
    for key, value in model.state_dict().items():
        total.update(key.encode() + value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest(), Path(asked.model)

"""Read a quality network: from a checkpoint, or from an ONNX file, published or exported."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.graph.from_torch import trace_network
from export.graph.front_end import OUTPUT, QUALITY_ENDS, add_front_end, embedding_ends
from export.graph.rewrite import readable
from export.proof.form import check_form
from export.sources.published_file import read_published, upgrade
from export.sources.source import Reference, Source, published_facts, trained_facts
from sdk.calibrating.embedding_session import EMBEDDING
from sdk.errors import FiqaError, InputError, ModelError
from sdk.files import read_file
from sdk.models.card import METADATA_KEY, InputSpec, ModelCard
from sdk.models.catalog import find_entry
from sdk.models.formats import FORMATS
from sdk.models.loading import LARGEST
from sdk.models.store import fetch_model
from sdk.onnx_bytes.onnx_file import check_onnx, read_metadata
from sdk.runtimes.base import check_scores
from sdk.runtimes.onnxruntime import run_error
from train.networks import QualityNetwork, get_variant, load_network, load_state, read_state

UNKNOWN_LICENCE = "unknown: that of the weights it was exported from"

_Scores = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def load_trained(network: nn.Module, name: str, weights: Path | None) -> tuple[Path, str]:
    """Load a checkpoint of `fiqa-train fit` into a network whose exported file comes with the package.

    Returns:
        The checkpoint, and its SHA-256.

    Raises:
        InputError: There is no checkpoint.
        ModelError: It cannot be read, or is another network's.
    """
    if weights is None:
        raise InputError(f"{name} comes with the package, exported already; give --weights FILE")
    load_state(network, read_state(weights), f"{weights} as {name}")
    return weights, hashlib.sha256(read_file(weights, ModelError, "give --weights a checkpoint")).hexdigest()


def load_source(name: str, weights: Path | None = None, embedding: bool = False) -> Source:
    """Read a quality network.

    Args:
        name: Name of the network, of `train.networks.VARIANTS`.
        weights: Checkpoint (`.pth`, `.safetensors`), or `.onnx` file, published or exported in fp32. None takes the
            file in the package, or fetches the published one.
        embedding: The network's embedding is a second output, after the quality. It needs a checkpoint.

    Raises:
        InputError: The network of that name gives no quality, or no embedding where it is wanted.
        ModelError: The file cannot be read or fetched, is damaged, or is not that network.
    """
    variant = get_variant(name)
    if variant.hidden is None:
        raise InputError(f"{name} gives embeddings, wanted a network that gives quality; see fiqa-export --help")
    if embedding and variant.early:
        raise InputError(f"{name} does not learn embeddings; leave out --embedding, or take an ediffiqa network")
    path = weights or find_entry(name).embedded or fetch_model(name)
    if embedding and path.suffix.lower() == FORMATS["onnx"].suffix:
        raise InputError(
            f"--embedding needs a checkpoint, and {path.name} is ONNX; give --weights a .pth or .safetensors"
        )
    content = read_file(path, ModelError, "give --weights the path of a .pth, .safetensors or .onnx file", LARGEST)
    digest = hashlib.sha256(content).hexdigest()
    if path.suffix.lower() == FORMATS["onnx"].suffix:
        with readable(path):
            exported = _read_exported(name, path, content)
            if exported is not None:
                model, card = exported
                facts = _facts(name, path, card.to_dict())
                return Source(path, card.source_sha256 or digest, model, QUALITY_ENDS, _session(model), facts)
            published = read_published(path)
            network, scores, facts = upgrade(published), _onnx_scores(published), published_facts(digest)
            model = add_front_end(network, variant.mean, variant.std)
    else:
        torch_network = load_network(name, path)
        if embedding:
            assert isinstance(torch_network, QualityNetwork)
            return _with_embedding(name, path, digest, torch_network, variant.features)
        scores, facts = _torch_scores(torch_network), published_facts(digest) or trained_facts(path)
        model = add_front_end(trace_network(torch_network), variant.mean, variant.std)
    return Source(
        path, digest, model, QUALITY_ENDS, lambda faces: scores(normalised(faces, variant.mean, variant.std)),
        _facts(name, path, facts),
    )  # fmt: skip


class _QualityAndEmbedding(nn.Module):
    """A quality network that gives its embedding, too."""

    def __init__(self, network: QualityNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features, quality = self.network.features_and_quality(x)
        return quality, features


def _with_embedding(name: str, path: Path, digest: str, network: QualityNetwork, length: int) -> Source:
    variant, both, ends = get_variant(name), _QualityAndEmbedding(network).eval(), embedding_ends(length)
    model = add_front_end(trace_network(both, (OUTPUT, EMBEDDING)), variant.mean, variant.std, ends)

    def reference(output: int) -> Reference:
        def run(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.inference_mode():
                found = both(torch.from_numpy(normalised(faces, variant.mean, variant.std)))[output].numpy()
            return found if output else found.reshape(-1)

        return run

    facts = _facts(name, path, published_facts(digest) or trained_facts(path))
    return Source(path, digest, model, ends, reference(0), facts, reference(1))


def normalised(faces: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """Return a network's input for faces. The graph computes it, too; this second way is there to check the graph.

    Returns:
        float32 (N, 3, 112, 112), RGB.
    """
    rgb = (faces[..., ::-1] / 255.0 - mean) / std
    return np.ascontiguousarray(rgb.transpose(0, 3, 1, 2), dtype=np.float32)


def _facts(name: str, path: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a card: what is known of the weights, and what every exported quality network has."""
    variant = get_variant(name)
    spec = dataclasses.asdict(InputSpec(mean=variant.mean, std=variant.std))
    fixed = {"task": "quality", "input": spec, "output": OUTPUT}
    return {"licence": UNKNOWN_LICENCE, "source": path.name, **known, **fixed}


def _read_exported(name: str, path: Path, content: bytes) -> tuple[onnx.ModelProto, ModelCard] | None:
    """Return a file that was exported in fp32, without its card, and the card; None if the file has no card."""
    try:
        check_onnx(content)
        text = read_metadata(content).get(METADATA_KEY)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    if text is None:
        return None
    card = ModelCard.from_json(text)
    if card.variant != name:
        raise ModelError(f"{path} is an export of {card.variant or card.name}: use that name, not {name}")
    if card.precision != "fp32":
        raise ModelError(f"{path} is {card.precision} already; export from the fp32 file or from the checkpoint")
    check_form(path, QUALITY_ENDS)
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    return model, card


def _torch_scores(network: nn.Module) -> _Scores:
    def scores(faces: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return network(torch.from_numpy(faces)).numpy().reshape(-1)

    return scores


def _onnx_scores(published: onnx.ModelProto) -> _Scores:
    reference = _session(published)
    # Many published files take a batch of 1 only.
    return lambda faces: np.concatenate([reference(face[None]) for face in faces])


def _session(model: onnx.ModelProto) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Return a function that scores faces with an ONNX model in onnxruntime, 16 at a time."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def scores(faces: NDArray[Any]) -> NDArray[np.float32]:
        parts = [faces[start : start + 16] for start in range(0, len(faces), 16)]
        try:
            found = [check_scores(session.run(None, {name: part})[0], len(part), "the source") for part in parts]
        except FiqaError:
            raise
        except Exception as error:  # onnxruntime's errors share no class
            raise run_error(error, "cpu", len(faces)) from error
        return np.concatenate(found)

    return scores

"""Step 1: from a name and perhaps a file to a graph in fp32 that takes faces, and the scores it has to reproduce."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import nn

from export.graph.from_torch import from_network
from export.graph.front_end import take_images
from export.graph.rewrite import readable
from export.proof.compare import check_form, normalised
from export.sources.published_file import read_published, upgrade
from sdk.errors import FiqaError, InputError, ModelError
from sdk.files import read_file
from sdk.models.card import METADATA_KEY, ModelCard
from sdk.models.catalog import catalog, find_entry
from sdk.models.formats import FORMATS
from sdk.models.loading import LARGEST
from sdk.models.store import fetch_model
from sdk.onnx_bytes.onnx_file import check_onnx, read_metadata
from sdk.runtimes.base import check_scores
from sdk.runtimes.onnxruntime import run_error
from train.networks import get_variant, load_network

Reference = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Faces as cameras give them, uint8 BGR (N, 112, 112, 3) -> quality (N,)."""

_Scores = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Source:
    """What is exported.

    Attributes:
        path: The file that the weights came from.
        sha256: Its SHA-256.
        model: The network in fp32, ready to be written: `faces` uint8 -> `quality`.
        reference: Scores of the torch network, or of the published or exported file as it is.
        facts: What is known of the weights, as fields of a card: licence, attribution, training data ...
    """

    path: Path
    sha256: str
    model: onnx.ModelProto
    reference: Reference
    facts: Mapping[str, Any]


def load_source(name: str, weights: Path | None = None) -> Source:
    """Read a checkpoint (`.pth`, `.safetensors`), or an `.onnx` file: a published one or one that was exported in fp32.

    Args:
        name: A quality network of `train.networks.VARIANTS`.
        weights: The file; None takes the one in the package, or fetches the published one through the model store.

    Raises:
        InputError: The name is not that of a quality network.
        ModelError: The file cannot be had, is damaged, or is not that network.
    """
    variant = get_variant(name)
    if variant.hidden is None:
        raise InputError(f"{name} gives embeddings, wanted a network that gives quality; see fiqa-export --help")
    path = weights or find_entry(name).embedded or fetch_model(name)
    content = read_file(path, ModelError, "give --weights the path of a .pth, .safetensors or .onnx file", LARGEST)
    digest = hashlib.sha256(content).hexdigest()
    mean, std = variant.mean, variant.std
    if path.suffix.lower() == FORMATS["onnx"].suffix:
        with readable(path):
            exported = _exported(name, path, content)
            if exported is not None:
                model, card = exported
                return Source(path, card.source_sha256 or digest, model, _session(model), card.to_dict())
            published = read_published(path)
            core, scores, facts = upgrade(published), _onnx_scores(published), _published_facts(digest)
            model = take_images(core, mean, std)
    else:
        network = load_network(name, path)
        core, scores = from_network(network), _torch_scores(network)
        facts = _published_facts(digest) or trained_facts(path)
        model = take_images(core, mean, std)
    return Source(path, digest, model, lambda faces: scores(normalised(faces, mean, std)), facts)


def _exported(name: str, path: Path, content: bytes) -> tuple[onnx.ModelProto, ModelCard] | None:
    """A file that was exported in fp32, without its card, and the card; None where the file carries none."""
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
    check_form(path)
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    return model, card


def _published_facts(digest: str) -> dict[str, Any]:
    """What the catalogue says of a file, where it knows it."""
    for entry in catalog().values():
        if entry.sha256 == digest:
            card = entry.card
            return {key: getattr(card, key) for key in ("summary", "licence", "attribution", "source", "paper")}
    return {}


def trained_facts(path: Path) -> dict[str, Any]:
    """What `fiqa-train` wrote into a checkpoint of its own: fields of a card, as JSON.

    Raises:
        ModelError: They are no JSON.
    """
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(METADATA_KEY, "{}")
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: its {METADATA_KEY} is not JSON ({error}); save the checkpoint again") from error
    if not isinstance(facts, dict):
        raise ModelError(f"{path}: its {METADATA_KEY} is a {type(facts).__name__}, wanted an object")
    return facts


def _torch_scores(network: nn.Module) -> _Scores:
    def scores(faces: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return network(torch.from_numpy(faces)).numpy().reshape(-1)

    return scores


def _onnx_scores(published: onnx.ModelProto) -> _Scores:
    reference = _session(published)
    # One by one: published files are often traced with a batch of 1.
    return lambda faces: np.concatenate([reference(face[None]) for face in faces])


def _session(model: onnx.ModelProto) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Scores of an ONNX model in onnxruntime, 16 faces at a time."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def scores(faces: NDArray[Any]) -> NDArray[np.float32]:
        parts = [faces[start : start + 16] for start in range(0, len(faces), 16)]
        try:
            found = [check_scores(session.run(None, {name: part})[0], len(part), "the source") for part in parts]
        except FiqaError:
            raise
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise run_error(error, "cpu", len(faces)) from error
        return np.concatenate(found)

    return scores

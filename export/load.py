"""Step 1: from a name and perhaps a file to a float NCHW graph and the scores that it has to reproduce."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import nn

from export.graph import from_network
from export.published import read_published, upgrade
from sdk.errors import InputError, ModelError
from sdk.models.card import METADATA_KEY
from sdk.models.catalog import catalog, find_entry
from sdk.models.store import fetch_model
from train.networks import get_variant, load_network

Reference = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Normalised RGB (N, 3, 112, 112) -> quality (N,)."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is exported.

    Attributes:
        path: The file that the weights came from.
        sha256: Its SHA-256.
        core: The network: float32 NCHW normalised RGB -> quality.
        reference: Scores of the torch network, or of the published file as it is.
        facts: What is known of the weights, as fields of a card: licence, attribution, training data ...
    """

    path: Path
    sha256: str
    core: onnx.ModelProto
    reference: Reference
    facts: Mapping[str, Any]


def load_source(name: str, weights: Path | None = None) -> Source:
    """Read a checkpoint (`.pth`, `.safetensors`) or a published `.onnx` file.

    Args:
        name: A quality network of `train.networks.VARIANTS`.
        weights: The file; None fetches the published one through the model store.

    Raises:
        InputError: The name is not that of a quality network.
        ModelError: The file cannot be had, is damaged, or is not that network.
    """
    if get_variant(name).hidden is None:
        raise InputError(f"{name} gives embeddings, wanted a network that gives quality; see fiqa-export --help")
    path = weights or _fetch(name)
    if not path.is_file():
        raise ModelError(f"no file at {path}; give --weights the path of a .pth, .safetensors or .onnx file")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = _published_facts(digest)
    if path.suffix == ".onnx":
        published = read_published(path)
        return Source(path, digest, upgrade(published), _onnx_reference(published), facts)
    network = load_network(name, path)
    return Source(path, digest, from_network(network), _torch_reference(network), facts or _trained_facts(path))


def _fetch(name: str) -> Path:
    if find_entry(name).embedded is not None:
        raise ModelError(f"{name} comes with the package, exported already; to export your own give --weights FILE")
    return fetch_model(name)


def _published_facts(digest: str) -> dict[str, Any]:
    """What the catalogue says of a file, where it knows it."""
    for entry in catalog().values():
        if entry.sha256 == digest:
            card = entry.card
            return {key: getattr(card, key) for key in ("summary", "licence", "attribution", "source", "paper")}
    return {}


def _trained_facts(path: Path) -> dict[str, Any]:
    """What `fiqa-train` wrote into a checkpoint of its own: fields of a card, as JSON."""
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(METADATA_KEY, "{}")
    try:
        facts = json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}: its {METADATA_KEY} is not JSON ({error}); save the checkpoint again") from error
    if not isinstance(facts, dict):
        raise ModelError(f"{path}: its {METADATA_KEY} is a {type(facts).__name__}, wanted an object")
    return facts


def _torch_reference(network: nn.Module) -> Reference:
    def scores(faces: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return network(torch.from_numpy(faces)).numpy().reshape(-1)

    return scores


def _onnx_reference(published: onnx.ModelProto) -> Reference:
    import onnxruntime

    session = onnxruntime.InferenceSession(published.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def scores(faces: NDArray[np.float32]) -> NDArray[np.float32]:
        # One by one: published files are often traced with a batch of 1.
        return np.array([session.run(None, {name: face[None]})[0].item() for face in faces], np.float32)

    return scores

"""Source of an export: a network as ONNX, its outputs, and the facts about its weights."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors import safe_open

from export.graph.ends import Ends
from sdk.errors import ModelError
from sdk.models.card import METADATA_KEY
from sdk.models.catalog import catalog

Reference = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""The source's output for images as cameras give them: uint8 BGR (N, H, W, 3)."""


@dataclass(frozen=True, slots=True)
class Source:
    """A network to export.

    Attributes:
        path: File that the weights came from.
        sha256: SHA-256 of that file.
        model: The network in fp32, ready to be written.
        ends: Input and output of the model.
        reference: The network's output, computed by torch, or by the published or exported file.
        facts: Fields of a card: task, input, output, licence, attribution, training data ...
        embedding: The network's second output, computed by torch; None where it has none.
    """

    path: Path
    sha256: str
    model: onnx.ModelProto
    ends: Ends
    reference: Reference
    facts: Mapping[str, Any]
    embedding: Reference | None = None


def published_facts(digest: str) -> dict[str, Any]:
    """Return what the catalogue knows of a file by its SHA-256, as fields of a card; empty for an unknown file."""
    for entry in catalog().values():
        if entry.sha256 == digest:
            card = entry.card
            return {key: getattr(card, key) for key in ("summary", "licence", "attribution", "source", "paper")}
    return {}


def trained_facts(path: Path) -> dict[str, Any]:
    """Return what `fiqa-train` wrote into a checkpoint: fields of a card. Empty for other files.

    Raises:
        ModelError: The fields are not JSON.
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
        raise ModelError(f"{path}: its {METADATA_KEY} is a {type(facts).__name__}, wanted a JSON object")
    return facts

"""Step 4: the card: all that is known of the file, written inside it."""

import dataclasses
from typing import Any

import onnx

from export.graph.front_end import OUTPUT
from export.sources.checkpoint import Source
from sdk.errors import ModelError
from sdk.models.card import METADATA_KEY, InputSpec, ModelCard
from train.networks import get_variant

UNKNOWN_LICENCE = "unknown: that of the weights it was exported from"


def make_card(name: str, source: Source, precision: str = "fp32") -> ModelCard:
    """Describe an exported file.

    Facts come from the catalogue where it knows the weights by their hash, else from what `fiqa-train` wrote into the
    checkpoint, or from the card of a file that was exported already.

    Raises:
        ModelError: The checkpoint's facts are not fields of a card.
    """
    variant = get_variant(name)
    known: dict[str, Any] = {"licence": UNKNOWN_LICENCE, "source": source.path.name, **source.facts}
    known |= {
        "name": name,
        "variant": name,
        "task": "quality",
        "input": dataclasses.asdict(InputSpec(mean=variant.mean, std=variant.std)),
        "output": OUTPUT,
        "format": "onnx",
        "precision": precision,
        "engine": {},
        "proven": True,
        "verification": {},
        "source_sha256": source.sha256,
    }
    try:
        return ModelCard.from_dict(known)
    except ModelError as error:
        raise ModelError(f"{source.path}: {error}") from error


def with_card(model: onnx.ModelProto, card: ModelCard) -> bytes:
    """The model's file, with its card inside.

    Returns:
        ONNX, the same bytes for the same model and card.
    """
    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    return model.SerializeToString(deterministic=True)

"""The card of an exported file: make it, and write it into an ONNX file."""

import onnx

from export.sources.source import Source
from sdk.errors import ModelError
from sdk.models.card import METADATA_KEY, ModelCard


def make_card(name: str, source: Source, precision: str = "fp32") -> ModelCard:
    """Make the card of a file that is going to be exported as ONNX.

    Args:
        name: Name of the network.
        source: The network.
        precision: Precision of the file.

    Raises:
        ModelError: The facts in the checkpoint are not fields of a card.
    """
    fixed = {
        "name": name,
        "variant": name,
        "format": "onnx",
        "precision": precision,
        "engine": {},
        "proven": True,
        "verification": {},
        "source_sha256": source.sha256,
    }
    try:
        return ModelCard.from_dict({**source.facts, **fixed})
    except ModelError as error:
        raise ModelError(f"{source.path}: {error}") from error


def add_card(model: onnx.ModelProto, card: ModelCard) -> bytes:
    """Return the bytes of an ONNX file with its card inside: the same bytes for the same model and card."""
    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    return model.SerializeToString(deterministic=True)

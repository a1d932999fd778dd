"""The methods that a recipe's network is compared with, and that may label."""

from pathlib import Path
from typing import Any

from sdk.errors import InputError
from sdk.models.loading import is_path, load_model
from sdk.text import shortened
from train.labelling.labeller import Labeller
from train.labelling.sdk_model import SDKModel
from train.methods.baselines import DetectorConfidence, LightQNet, Sharpness
from train.recipes import text_of


def load_peers(section: dict[str, Any], data: Path, network: str) -> list[Labeller]:
    """Return the methods that the network is compared with: `sharpness`, and those of the section `peers`."""
    known = ("lightqnet", "detector", "models")
    if unknown := next((name for name in section if name not in known), None):
        raise InputError(f"peers has {shortened(repr(unknown))}, wanted some of: {', '.join(known)}")
    peers: list[Labeller] = [Sharpness()]
    if "lightqnet" in section:
        peers.append(LightQNet(data / text_of(section, "lightqnet", "peers")))
    if "detector" in section:
        peers.append(DetectorConfidence(text_of(section, "detector", "peers")))
    models = section.get("models") or {}
    if not isinstance(models, dict):
        raise InputError(f"peers.models is {shortened(repr(models))}, wanted a mapping: name of a column to its model")
    for name in models:
        model = text_of(models, name, "peers.models")
        if name in {network, "faceqan", "centre", "target", "norm", *(peer.name for peer in peers)}:
            raise InputError(f"peers.models has the name {name!r}, which another method has; give it a name of its own")
        model = str(data / model) if is_path(model) else model
        load_model(model, task="quality")  # a wrong file is an error now, not after the training
        peers.append(SDKModel(model, str(name)))
    return peers

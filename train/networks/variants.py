"""Networks by name, for `--model` and for recipes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from sdk.errors import InputError
from train.networks.heads import QualityNetwork
from train.networks.iresnet import IResNet
from train.networks.mobilefacenet import MobileFaceNet
from train.networks.mobilefacenet128 import MobileFaceNet128

Triple = tuple[float, float, float]

HALF: Triple = (0.5, 0.5, 0.5)
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Variant:
    """Description of a network.

    Attributes:
        backbone: Makes the face-recognition network.
        features: Length of its embeddings.
        hidden: Width of the MLP head; 0 for a head of one linear layer; None for a face-recognition network.
        early: Values before the embedding, which the head takes instead of it; 0 where it takes the embedding.
        mean: Subtracted from RGB in [0, 1].
        std: Divides what is left.
    """

    backbone: Callable[[], nn.Module]
    features: int
    hidden: int | None = None
    early: int = 0
    mean: Triple = HALF
    std: Triple = HALF


_IRESNET18 = partial(IResNet, (2, 2, 2, 2))
_IRESNET34 = partial(IResNet, (3, 4, 6, 3))
_IRESNET50 = partial(IResNet, (3, 4, 14, 3))
_IRESNET100 = partial(IResNet, (3, 13, 30, 3))
_IRESNET200 = partial(IResNet, (6, 26, 60, 6))

VARIANTS = {
    "fiqa-nano": Variant(MobileFaceNet128, 128, 128, early=512, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "ediffiqa-t": Variant(MobileFaceNet, 512, 1024),
    "ediffiqa-s": Variant(_IRESNET18, 512, 1024),
    "ediffiqa-m": Variant(_IRESNET50, 512, 1024),
    "ediffiqa-l": Variant(_IRESNET100, 512, 1024),
    "iresnet100-linear": Variant(_IRESNET100, 512, 0),
    "iresnet50-linear": Variant(_IRESNET50, 512, 0),
    "iresnet18-linear": Variant(_IRESNET18, 512, 0),
    "mobilefacenet-linear": Variant(MobileFaceNet, 512, 0),
    "mobilefacenet128-linear": Variant(MobileFaceNet128, 128, 0, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "mobilefacenet128": Variant(MobileFaceNet128, 128, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "mobilefacenet": Variant(MobileFaceNet, 512),
    "iresnet18": Variant(_IRESNET18, 512),
    "iresnet34": Variant(_IRESNET34, 512),
    "iresnet50": Variant(_IRESNET50, 512),
    "iresnet100": Variant(_IRESNET100, 512),
    "iresnet200": Variant(_IRESNET200, 512),
}


def get_variant(name: str) -> Variant:
    """Return the description of a network.

    Raises:
        InputError: The name is not in `VARIANTS`.
    """
    try:
        return VARIANTS[name]
    except KeyError:
        raise InputError(f"unknown network {name!r}, wanted one of: {', '.join(VARIANTS)}") from None


def create_network(name: str, outputs: int = 1) -> nn.Module:
    """Make a network with random weights: normalised RGB (N, 3, 112, 112) -> quality (N, outputs), or embeddings."""
    variant = get_variant(name)
    backbone = variant.backbone()
    if variant.hidden is None:
        return backbone
    features = variant.early or variant.features
    return QualityNetwork(backbone, features, variant.hidden, outputs, early=bool(variant.early))

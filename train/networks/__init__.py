"""Networks, with the keys and shapes of the published checkpoints."""

from train.networks.checkpoints import identify, load_checkpoint, load_network, load_state, save_network
from train.networks.heads import MLP, QualityNetwork
from train.networks.iresnet import IResNet
from train.networks.mobilefacenet import MobileFaceNet
from train.networks.mobilefacenet128 import MobileFaceNet128
from train.networks.state_files import read_state
from train.networks.variants import VARIANTS, Variant, create_network, get_variant

__all__ = [
    "MLP",
    "VARIANTS",
    "IResNet",
    "MobileFaceNet",
    "MobileFaceNet128",
    "QualityNetwork",
    "Variant",
    "create_network",
    "get_variant",
    "identify",
    "load_checkpoint",
    "load_network",
    "load_state",
    "read_state",
    "save_network",
]

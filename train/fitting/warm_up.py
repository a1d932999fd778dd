"""Train the head alone first, on the teacher's embeddings.

The backbone starts as the teacher, whose embeddings of every image are at hand, so this takes seconds and no image is
read. Fine-tuning that starts from a random head distorts good features before the head has learned (Kumar et al.,
"Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022).
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sdk.commands.console import progress_bar
from sdk.errors import InputError
from train.data.dataset import normalised, rgb_images
from train.data.manifest import Manifest
from train.fitting.rounding import fix_rounding
from train.networks import MLP, QualityNetwork, Variant
from train.networks.recognition.models import device_of
from train.recipes import check_least

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WarmUpSettings:
    """How to train the head alone.

    Attributes:
        epochs: Passes over the data; 0 for no warm-up, as published.
        batch_size: Embeddings a step.
        lr: Learning rate, falling linearly to 0.
        weight_decay: Of AdamW.
        dropout: Of the hidden layer.
        noise: Deviation of Gaussian noise added to the embeddings, in units of their spread.
        seed: Of order and dropout.
    """

    epochs: int = 0
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.3
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_least(self, 1, "batch_size")
        check_least(self, 0, "epochs", "seed")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}, wanted 0 or more, below 1")


def warm_up_head(
    network: QualityNetwork, embeddings: NDArray[Any], labels: NDArray[np.float32], settings: WarmUpSettings
) -> None:
    """Train `network.mlp` in place to predict labels from what it takes, with the L1 loss.

    Args:
        network: Its head is trained.
        embeddings: float32 (N, D), what the head takes: embeddings of the teacher, or see `head_inputs`.
        labels: (N,) or (N, outputs), in [0, 1].
        settings: See `WarmUpSettings`.

    Raises:
        InputError: The head is one linear layer.
    """
    if not settings.epochs:
        return
    fix_rounding()
    head = network.mlp
    if not isinstance(head, MLP):
        raise InputError("warm_up trains an MLP head and this network's is one linear layer; leave warm_up out")
    inputs, targets = torch.from_numpy(np.asarray(embeddings)), torch.from_numpy(labels.reshape(len(labels), -1))
    # The head is trained on embeddings of unit spread, and takes raw ones afterwards: the same function, but the
    # learning rate suits it whatever the teacher's scale.
    spread = float(inputs.std())
    optimiser = torch.optim.AdamW(head.parameters(), settings.lr, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-len(inputs) // settings.batch_size)
    losses: list[float] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        for _ in range(settings.epochs):
            for rows in torch.split(torch.randperm(len(inputs)), settings.batch_size):
                for group in optimiser.param_groups:
                    group["lr"] = settings.lr * (1 - len(losses) / steps)
                loss = _loss(head, inputs[rows] / spread, targets[rows], settings)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                losses.append(loss.item())
    with torch.no_grad():
        head.l1.weight.div_(spread)
    logger.info("head warmed up: loss %.4f", np.mean(losses[-(steps // settings.epochs) :]))


def _loss(head: MLP, embeddings: Tensor, targets: Tensor, settings: WarmUpSettings) -> Tensor:
    noisy = embeddings + settings.noise * torch.randn_like(embeddings)
    hidden = F.dropout(head.gelu(head.l1(noisy)), settings.dropout)
    return (head.l2(hidden) - targets).abs().mean()


@torch.no_grad()
def head_inputs(
    network: QualityNetwork, variant: Variant, manifest: Manifest, rows: NDArray[np.integer[Any]], batch: int = 64
) -> NDArray[np.float32]:
    """Return what the head takes of each image, float32 (N, D), see `QualityNetwork.head_input`.

    Args:
        network: Its backbone is as it starts. It is on the CPU, and looks at the images on a GPU where there is one.
        variant: Its normalisation.
        manifest: Images.
        rows: (N,) rows of the manifest.
        batch: Images a pass.
    """
    device = device_of("auto")
    network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = []
    with progress_bar("head", len(rows)) as advance:
        for part in np.array_split(rows, -(-len(rows) // batch)):
            images = rgb_images(manifest.load_faces(part)).to(device)
            found.append(network.head_input(normalised(images, variant.mean, variant.std)).cpu().numpy())
            advance(len(part))
    network.to("cpu")
    return np.concatenate(found)

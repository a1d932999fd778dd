"""Quality networks: a face-recognition network with a head, which is an MLP or one linear layer."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sdk.errors import InputError


class MLP(nn.Module):
    """Two linear layers with GELU between them: features (N, D) -> quality (N, K), in training K may be above 1."""

    def __init__(self, features: int, hidden: int, outputs: int = 1) -> None:
        super().__init__()
        self.l1 = nn.Linear(features, hidden)
        self.gelu = nn.GELU()
        self.l2 = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.l2(self.gelu(self.l1(x)))


class QualityNetwork(nn.Module):
    """A face-recognition backbone with a head: an MLP (eDifFIQA, section III-C) or one linear layer (DifFIQA(R)).

    Normalised RGB faces (N, 3, 112, 112) -> quality (N, 1). `base_model` and `mlp` are the names in the published
    checkpoints.

    Args:
        backbone: Face-recognition network.
        features: Values that the head takes.
        hidden: Width of the MLP; 0 for one linear layer.
        outputs: Values that the head gives: one, or in training one for each label, see `merge_outputs`.
        early: The head takes what `backbone.before_embedding` gives, not the embedding: values that recognition has no
            use for, and quality may have, are still in it.
    """

    def __init__(self, backbone: nn.Module, features: int, hidden: int, outputs: int = 1, early: bool = False) -> None:
        super().__init__()
        self.base_model: Any = backbone
        self.mlp: MLP | nn.Linear = MLP(features, hidden, outputs) if hidden else nn.Linear(features, outputs)
        self._early = early

    @property
    def last_layer(self) -> nn.Linear:
        """The layer whose output is the quality."""
        return self.mlp.l2 if isinstance(self.mlp, MLP) else self.mlp

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.head_input(x))

    def head_input(self, x: Tensor) -> Tensor:
        """Return what the head takes, (N, features)."""
        return self.base_model.before_embedding(x) if self._early else self.base_model(x)

    def features_and_quality(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, D), which can be used for recognition, and quality (N, 1)."""
        values = self.head_input(x)
        return self.base_model.embedding(values) if self._early else values, self.mlp(values)

    @torch.no_grad()
    def merge_outputs(self, weights: Sequence[float]) -> None:
        """Make the head's outputs one, in place: their sum with these weights.

        Raises:
            InputError: There are more outputs than weights, or fewer.
        """
        last = self.last_layer
        if last.out_features != len(weights):
            raise InputError(f"the network has {last.out_features} outputs and there are {len(weights)} weights")
        factors = torch.tensor([list(weights)], dtype=last.weight.dtype)
        merged = nn.Linear(last.in_features, 1)
        merged.weight.copy_(factors @ last.weight)
        merged.bias.copy_(factors[0] @ last.bias[:, None])
        if isinstance(self.mlp, MLP):
            self.mlp.l2 = merged
        else:
            self.mlp = merged

"""Quality networks: a face-recognition network with a head, which is an MLP or one linear layer."""

from torch import Tensor, nn


class MLP(nn.Module):
    """Two linear layers with GELU between them: features (N, D) -> quality (N, 1)."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.l1 = nn.Linear(features, hidden)
        self.gelu = nn.GELU()
        self.l2 = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.l2(self.gelu(self.l1(x)))


class QualityNetwork(nn.Module):
    """A face-recognition backbone with a head: an MLP (eDifFIQA, section III-C) or one linear layer (DifFIQA(R)).

    Normalised RGB faces (N, 3, 112, 112) -> quality (N, 1). `base_model` and `mlp` are the names in the published
    checkpoints.

    Args:
        backbone: Face-recognition network.
        features: Length of its embeddings.
        hidden: Width of the MLP; 0 for one linear layer.
    """

    def __init__(self, backbone: nn.Module, features: int, hidden: int) -> None:
        super().__init__()
        self.base_model = backbone
        self.mlp: MLP | nn.Linear = MLP(features, hidden) if hidden else nn.Linear(features, 1)

    @property
    def last_layer(self) -> nn.Linear:
        """The layer whose output is the quality."""
        return self.mlp.l2 if isinstance(self.mlp, MLP) else self.mlp

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.base_model(x))

    def features_and_quality(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, D), which can be used for recognition, and quality (N, 1)."""
        features = self.base_model(x)
        return features, self.mlp(features)

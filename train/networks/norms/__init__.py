"""Batch norms that the layer before or after them computes."""

from train.networks.norms.frozen_norm import fuse_frozen_norms
from train.networks.norms.norm_folding import fold_norms

__all__ = ["fold_norms", "fuse_frozen_norms"]

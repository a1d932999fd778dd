"""Depthwise convolutions of frozen networks on a GPU, together with the activations around them."""

from train.networks.depthwise_gpu.layers import ActivatedDepthwise, fuse_depthwise, has_depthwise, proof_fails

__all__ = ["ActivatedDepthwise", "fuse_depthwise", "has_depthwise", "proof_fails"]

"""Depthwise convolutions of frozen networks on a GPU, together with the activations around them."""

from train.networks.depthwise_gpu.layers import ActivatedDepthwise, fuse_depthwise, has_depthwise

__all__ = ["ActivatedDepthwise", "fuse_depthwise", "has_depthwise"]

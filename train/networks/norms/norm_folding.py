"""Batch norms of frozen networks, computed by the layer after them.

In evaluation mode a batch norm makes `a * x + b` of a channel. The convolution or linear layer after it takes `a` into
its weights, and `b` into its bias. A padded convolution puts its zeros round `a * x + b`, so that `b` counts for less
near the border: its share is then an image, that of an input of `b` everywhere, which is the same for all faces.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn


class PaddedConv2d(nn.Module):
    """A padded convolution of `a * x + b`, as the convolution of x plus an image that does not depend on x.

    The backward pass is that of the convolution alone. The image is computed in each pass, for that costs as much as
    one channel of one face, and needs no memory of sizes.

    Args:
        conv: The convolution, with `a` in its weights and without bias.
        taps: (C, 1, h, w), what `b` gives at each place of the kernel.
        bias: (C,).
    """

    taps: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, taps: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.conv = conv
        self.register_buffer("taps", taps)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        ones = x.new_ones((1, 1, *x.shape[2:]))
        image = F.conv2d(ones, self.taps, self.bias, conv.stride, conv.padding, conv.dilation)
        return conv(x).add_(image.contiguous(memory_format=torch.channels_last))


@torch.no_grad()
def fold_norms(network: nn.Module) -> nn.Module:
    """Fold each `BatchNorm2d` into the convolution, or the linear layer behind `flatten(1)`, that alone reads it.

    Embeddings and input gradients stay as they are up to rounding. A norm stays where something else reads it, too, or
    where its convolution pads with other values than zeros.

    Args:
        network: Traced by `torch.fx`, in evaluation mode, in float32; it calls no convolution or linear layer twice. It
            is changed in place.

    Returns:
        The network.
    """
    assert isinstance(network, fx.GraphModule)
    modules: dict[object, nn.Module] = dict(network.named_modules())
    for node in network.graph.nodes:
        norm = modules.get(node.target) if node.op == "call_module" else None
        if type(norm) is not nn.BatchNorm2d or norm.running_mean is None:
            continue
        name = _layer_after(node, modules)
        if name is not None:
            network.set_submodule(name, _with_norm(modules[name], *_scale_and_shift(norm)))
            node.replace_all_uses_with(node.args[0])
            network.graph.erase_node(node)
    network.delete_all_unused_submodules()
    network.recompile()
    return network


def _layer_after(node: fx.Node, modules: dict[object, nn.Module]) -> str | None:
    """Return the name of the layer that can compute a norm."""
    flat = False
    while len(node.users) == 1:
        (node,) = node.users
        module = modules.get(node.target) if node.op == "call_module" else None
        if type(module) is nn.Conv2d and not flat:
            return str(node.target) if module.padding_mode == "zeros" else None
        if type(module) is nn.Linear and flat:
            return str(node.target)
        if _flattens(node, module):
            flat = True
        elif not isinstance(module, nn.Dropout):
            return None
    return None


def _flattens(node: fx.Node, module: nn.Module | None) -> bool:
    if module is not None:
        return isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1)
    given = {"end_dim": -1} | dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | node.kwargs
    return node.target in ("flatten", torch.flatten) and given == {"start_dim": 1, "end_dim": -1}


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return `a` and `b` of each channel, as float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    if not norm.affine:
        return scale, -norm.running_mean * scale
    scale = norm.weight * scale
    return scale, norm.bias - norm.running_mean * scale


def _with_norm(layer: nn.Module, scale: Tensor, shift: Tensor) -> nn.Module:
    """Return a copy of a layer that computes `scale * x + shift` of its input first.

    A linear layer is a convolution here: its kernel covers all pixels of a channel.
    """
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    outputs = len(layer.weight)
    scale, shift = scale.view(groups, 1, -1, 1), shift.view(groups, 1, -1, 1)
    weight = layer.weight.double().reshape(groups, outputs // groups, scale.shape[2], -1)
    taps = (weight * shift).sum(2).view(outputs, -1)
    bias = torch.zeros_like(taps[:, 0]) if layer.bias is None else layer.bias.double()

    def rounded(values: Tensor) -> Tensor:
        return values.to(layer.weight.dtype)

    folded = copy.deepcopy(layer)
    folded.weight = nn.Parameter(rounded(weight * scale).view(layer.weight.shape))
    folded.bias = None
    if isinstance(folded, nn.Conv2d) and folded.padding not in ((0, 0), "valid"):
        return PaddedConv2d(folded, rounded(taps).view(outputs, 1, *folded.kernel_size), rounded(bias))
    folded.bias = nn.Parameter(rounded(bias + taps.sum(1)))
    return folded

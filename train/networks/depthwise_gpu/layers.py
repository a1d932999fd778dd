"""Depthwise convolutions with their activations as one operation, and networks that are rewritten to use them.

cuDNN compiles each depthwise convolution while one waits, for seconds in a network, and each activation around it reads
and writes all values once more. `kernels` has what runs instead; it is loaded when it is used, for it needs triton.
"""

from collections.abc import Callable
from math import inf
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn

from sdk.text import shortened
from train.networks.cpu_layers import is_plain_depthwise

Activation = nn.ReLU | nn.ReLU6 | nn.PReLU

_SETTINGS = "Tensor? before, float before_cap, Tensor? after, float after_cap, int stride, int padding"


@torch.library.custom_op(
    "fiqa::depthwise", mutates_args=(), schema=f"(Tensor x, Tensor weight, Tensor bias, {_SETTINGS}) -> Tensor"
)
def depthwise(
    x: Tensor, weight: Tensor, bias: Tensor, before: Tensor | None, before_cap: float,
    after: Tensor | None, after_cap: float, stride: int, padding: int,
) -> Tensor:  # fmt: skip
    """Compute `after(conv(before(x)))` with a depthwise convolution. Gradients reach x alone.

    An activation is `x > 0 ? min(x, cap) : slope * x`.

    Args:
        x: (N, C, H, W) on a GPU, of any type of up to 32 bits. It computes in float32.
        weight: (k * k, C), row by row.
        bias: (C,).
        before: Slopes of the activation before the convolution, and what is added to its input, (2, C); None for no
            activation.
        before_cap: Its largest value.
        after: Slopes (C,) of the activation after it, none below 0, because its output tells the sign of its input.
        after_cap: Its largest value.
        stride: Of rows and columns.
        padding: On each side.

    Returns:
        (N, C, H', W'), channels-last, of the type of x.
    """
    from train.networks.depthwise_gpu.kernels import forward

    y = _output(x, weight, bias, before, before_cap, after, after_cap, stride, padding)
    forward(_channels_last(x), weight, bias, before, before_cap, after, after_cap, stride, padding, y)
    return y


@torch.library.custom_op(
    "fiqa::depthwise_backward",
    mutates_args=(),
    schema=f"(Tensor grad, Tensor? x, Tensor? y, Tensor weight, SymInt height, SymInt width, {_SETTINGS}) -> Tensor",
)
def depthwise_backward(
    grad: Tensor, x: Tensor | None, y: Tensor | None, weight: Tensor, height: int, width: int, before: Tensor | None,
    before_cap: float, after: Tensor | None, after_cap: float, stride: int, padding: int,
) -> Tensor:  # fmt: skip
    """Compute the gradient of the input (N, C, height, width) of `depthwise` from that of its output.

    Args:
        grad: Gradient of the output.
        x: The input; None where there is no activation before.
        y: The output; None where there is no activation after.
        weight: As for `depthwise`, like what follows height and width.
        height: Of the input.
        width: Of the input.
        before: As above.
        before_cap: As above.
        after: As above.
        after_cap: As above.
        stride: Of rows and columns.
        padding: On each side.

    Returns:
        (N, C, height, width), channels-last, of the type of `grad`.
    """
    from train.networks.depthwise_gpu.kernels import backward

    x_grad = _empty(grad, height, width)
    x, y = (None if values is None else _channels_last(values) for values in (x, y))
    backward(_channels_last(grad), x, y, weight, before, before_cap, after, after_cap, stride, padding, x_grad)
    return x_grad


def _channels_last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


def _empty(like: Tensor, height: int, width: int) -> Tensor:
    shape = (*like.shape[:2], height, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


@depthwise.register_fake
def _output(x: Tensor, weight: Tensor, *settings: Any) -> Tensor:
    *_, stride, padding = settings
    kernel = round(len(weight) ** 0.5)
    height, width = ((size + 2 * padding - kernel) // stride + 1 for size in x.shape[2:])
    return _empty(x, height, width)


@depthwise_backward.register_fake
def _input_gradient(grad: Tensor, x: Any, y: Any, weight: Tensor, height: int, width: int, *settings: Any) -> Tensor:
    return _empty(grad, height, width)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, before, before_cap, after, after_cap, *ctx.geometry = inputs
    ctx.caps, ctx.size = (before_cap, after_cap), x.shape[2:]
    saved = (None if before is None else x, None if after is None else output)
    ctx.save_for_backward(*saved, weight, before, after)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, y, weight, before, after = ctx.saved_tensors
    settings = (before, ctx.caps[0], after, ctx.caps[1], *ctx.geometry)
    return (depthwise_backward(grad, x, y, weight, *ctx.size, *settings), *[None] * 8)


depthwise.register_autograd(_differentiate, setup_context=_save)


class ActivatedDepthwise(nn.Module):
    """A frozen depthwise convolution on a GPU, with the activations before and after it, see `depthwise`.

    Args:
        conv: A plain depthwise convolution, see `is_plain_depthwise`.
        before: Activation of its input.
        after: Activation of its output. A PReLU has no slope below 0.
        shift: Added to the input of `before`, (C,).
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        before: Activation | None = None,
        after: Activation | None = None,
        shift: Tensor | None = None,
    ) -> None:
        super().__init__()
        weight = conv.weight.detach()
        slopes = _slopes(before, weight)
        if slopes is not None:
            slopes = torch.stack([slopes, torch.zeros_like(slopes) if shift is None else shift.detach()])
        self.register_buffer("weight", weight.flatten(1).t().contiguous())
        self.register_buffer("bias", weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach())
        self.register_buffer("before", slopes)
        self.register_buffer("after", _slopes(after, weight))
        self._caps = [6.0 if isinstance(activation, nn.ReLU6) else inf for activation in (before, after)]
        self._stride, self._padding = conv.stride[0], int(conv.padding[0])

    def forward(self, x: Tensor) -> Tensor:
        before_cap, after_cap = self._caps
        return depthwise(
            x, self.weight, self.bias, self.before, before_cap, self.after, after_cap, self._stride, self._padding
        )


def _slopes(activation: Activation | None, weight: Tensor) -> Tensor | None:
    if activation is None:
        return None
    if isinstance(activation, nn.PReLU):
        return activation.weight.detach().expand(len(weight)).contiguous()
    return weight.new_zeros(len(weight))


def has_depthwise(network: nn.Module) -> bool:
    """Return True for a network with plain depthwise convolutions."""
    return any(is_plain_depthwise(module) for module in network.modules())


def fuse_depthwise(network: nn.Module) -> None:
    """Turn the plain depthwise convolutions of a frozen network into `ActivatedDepthwise`, in place.

    In a graph of `torch.fx` they take in the activations around them, and the bias of the convolution before those,
    where nothing else uses the values between.

    Args:
        network: Batch norms that belong to its convolutions are folded already.
    """
    if isinstance(network, fx.GraphModule):
        _fuse_graph(network)
        return
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if is_plain_depthwise(child):
                setattr(parent, name, ActivatedDepthwise(child))


def _fuse_graph(network: fx.GraphModule) -> None:
    graph, modules = network.graph, dict(network.named_modules())

    def module_of(node: Any) -> nn.Module | None:
        called = isinstance(node, fx.Node) and node.op == "call_module" and len(node.args) == 1
        return modules.get(str(node.target)) if called else None

    for number, node in enumerate(list(graph.nodes)):
        conv = module_of(node)
        if not is_plain_depthwise(conv):
            continue
        source, user = node.args[0], next(iter(node.users), node)
        before, after = module_of(source), module_of(user)
        # Another user of what is activated may change it in place, before the convolution or before the pass backward.
        if not _fits_before(before) or _is_shared(source) or _is_shared(source.args[0]):
            before = None
        if not _fits_after(after) or _is_shared(node):
            after = None
        shift = None if before is None else _take_bias(source.args[0], module_of)
        name = f"depthwise_{number}"
        network.add_module(name, ActivatedDepthwise(conv, before, after, shift))
        with graph.inserting_before(node):
            fused = graph.call_module(name, source.args if before else node.args)
        replaced = ([user] if after else []) + [node] + ([source] if before else [])
        replaced[0].replace_all_uses_with(fused)
        for old in replaced:
            graph.erase_node(old)
    network.delete_all_unused_submodules()
    network.recompile()


def _take_bias(node: Any, module_of: Callable[[Any], nn.Module | None]) -> Tensor | None:
    """Take the bias from a convolution, unless it or its values are used elsewhere."""
    conv = module_of(node)
    if type(conv) is not nn.Conv2d or _is_shared(node):
        return None
    if sum(module_of(other) is conv for other in node.graph.nodes) > 1:
        return None
    bias, conv.bias = conv.bias, None
    return bias


def _is_shared(node: Any) -> bool:
    return len(node.users) > 1


def _fits_before(module: nn.Module | None) -> TypeGuard[Activation]:
    return type(module) in (nn.ReLU, nn.ReLU6, nn.PReLU)


def _fits_after(module: nn.Module | None) -> TypeGuard[Activation]:
    """Return True for an activation whose output tells the sign of its input: a PReLU has no slope below 0."""
    return _fits_before(module) and not (isinstance(module, nn.PReLU) and bool((module.weight < 0).any()))


def proof_fails(device: torch.device, dtype: torch.dtype) -> str:
    """Compare the kernels on a GPU with PyTorch on the CPU; return why they cannot be used, or nothing.

    Both strides, values and gradients are compared, on the same rounded numbers. That compiles the kernels, which a
    network needs anyway. It does not matter whether the caller has gradients, or autocast.
    """
    off = (torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False))
    with torch.inference_mode(False), torch.enable_grad(), off[0], off[1]:
        return _proof_fails(device, dtype, stride=1) or _proof_fails(device, dtype, stride=2)


def _proof_fails(device: torch.device, dtype: torch.dtype, stride: int) -> str:
    random, channels = torch.Generator().manual_seed(0), 80  # one full tile of 64, and a part of one

    def drawn(*shape: int) -> Tensor:
        return (4 * torch.randn(shape, generator=random)).to(dtype).float()

    conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels).requires_grad_(False)
    sloped, shift = nn.PReLU(channels).requires_grad_(False), drawn(channels)
    for values in (*conv.parameters(), *sloped.parameters()):
        values.copy_(drawn(*values.shape))
    layers: tuple[Activation, Activation] = (sloped, nn.ReLU())
    if stride == 1:
        sloped.weight.abs_()
        layers = (nn.ReLU6(), sloped)
    x = drawn(2, channels, 16, 9)
    grad = drawn(*conv(x).shape)
    wanted = _values_and_gradient(nn.Sequential(layers[0], conv, layers[1]), x + shift[:, None, None], grad)
    try:
        kernels = ActivatedDepthwise(conv, *layers, shift).to(device, dtype)
        found = _values_and_gradient(kernels, x.to(device, dtype), grad.to(device, dtype))
    except Exception as error:  # noqa: BLE001 - of Triton, the C compiler or the driver: they share no class
        return f"their kernels do not run ({shortened(error) or type(error).__name__})"
    for ours, theirs in zip(found, wanted, strict=True):
        apart = float((ours.float().cpu() - theirs).abs().max() / theirs.abs().max())
        if not apart <= (1e-4 if dtype == torch.float32 else 2e-2):
            return f"their kernels differ from PyTorch's by {apart:.2g} of the largest value"
    return ""


def _values_and_gradient(network: nn.Module, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    values = network(leaf)
    return values.detach(), torch.autograd.grad(values, leaf, grad)[0]

"""Operators of ONNX in torch: those of face-recognition networks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdk.errors import ModelError

Attributes = Mapping[str, Any]
Values = Sequence[Any]
"""Inputs of an operator: tensors, and None for one that is left out."""

WITHOUT = "take a method without gradients, such as `fiqa-train label norm`, or a torch network"


def tensor(array: Any) -> Tensor:
    """Return an array as a tensor; numbers with a point as float32."""
    value = torch.from_numpy(np.array(array))
    return value.float() if value.is_floating_point() else value


def pads(attributes: Attributes, dimensions: int, where: str) -> tuple[list[int], list[int]]:
    """Return the padding before and after, of each dimension."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ModelError(f"{where} pads by auto_pad, wanted pads; export it again, or {WITHOUT}")
    pads = list(attributes.get("pads", [0] * 2 * dimensions))
    return pads[:dimensions], pads[dimensions:]


def _axes(values: Values, attributes: Attributes) -> list[int] | None:
    """Return axes, which are an attribute in older files and an input in newer ones."""
    if len(values) > 1 and values[1] is not None:
        return [int(axis) for axis in values[1].tolist()]
    return attributes.get("axes")


def _prelu(values: Values, attributes: Attributes) -> Tensor:
    x, slope = values
    channels = slope.shape[-x.ndim + 1] if slope.ndim == x.ndim - 1 else 0
    if slope.numel() == 1 or (x.ndim > 1 and slope.numel() == channels == x.shape[1]):
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x > 0, x, slope * x)


def _clip(values: Values, attributes: Attributes) -> Tensor:
    bounds = [values[place] if len(values) > place else None for place in (1, 2)]
    low, high = (
        attributes.get(name) if bound is None else bound for name, bound in zip(("min", "max"), bounds, strict=True)
    )
    return values[0] if low is None and high is None else torch.clamp(values[0], low, high)


def _divide(values: Values, attributes: Attributes) -> Tensor:
    whole = not any(value.is_floating_point() for value in values)
    return torch.div(values[0], values[1], rounding_mode="trunc" if whole else None)


def _gemm(values: Values, attributes: Attributes) -> Tensor:
    a = values[0].T if attributes.get("transA") else values[0]
    b = values[1].T if attributes.get("transB") else values[1]
    product = attributes.get("alpha", 1.0) * (a @ b)
    if len(values) < 3 or values[2] is None:
        return product
    return product + attributes.get("beta", 1.0) * values[2]


def _reshape(values: Values, attributes: Attributes) -> Tensor:
    x, shape = values[0], [int(size) for size in values[1].tolist()]
    copied = [x.shape[place] if size == 0 and place < x.ndim else size for place, size in enumerate(shape)]
    return x.reshape(copied)


def _flatten(values: Values, attributes: Attributes) -> Tensor:
    x, axis = values[0], attributes.get("axis", 1)
    if axis == 1:
        return x.flatten(1)
    return x.reshape(1, -1) if axis == 0 else x.flatten(axis).flatten(0, axis - 1)


def _squeeze(values: Values, attributes: Attributes) -> Tensor:
    axes = _axes(values, attributes)
    return values[0].squeeze() if axes is None else values[0].squeeze(tuple(axes))


def _unsqueeze(values: Values, attributes: Attributes) -> Tensor:
    x, axes = values[0], _axes(values, attributes) or []
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _split(values: Values, attributes: Attributes) -> tuple[Tensor, ...]:
    x, axis = values[0], attributes.get("axis", 0)
    sizes = values[1].tolist() if len(values) > 1 and values[1] is not None else attributes.get("split")
    if sizes is None:
        return tuple(x.chunk(attributes.get("num_outputs", 2), axis))
    return tuple(x.split([int(size) for size in sizes], axis))


def _slice(values: Values, attributes: Attributes) -> Tensor:
    x = values[0]
    if len(values) == 1:
        starts, ends = attributes["starts"], attributes["ends"]
        axes, steps = attributes.get("axes"), None
    else:
        starts, ends = values[1].tolist(), values[2].tolist()
        axes = values[3].tolist() if len(values) > 3 and values[3] is not None else None
        steps = values[4].tolist() if len(values) > 4 and values[4] is not None else None
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis, step = axes[place] if axes else place, steps[place] if steps else 1
        size = x.shape[axis]
        if step < 1:
            raise ValueError("a slice runs backwards")
        first, last = (min(max(each + size if each < 0 else each, 0), size) for each in (start, end))
        x = x.index_select(axis, torch.arange(first, max(last, first), step, device=x.device))
    return x


def _gather(values: Values, attributes: Attributes) -> Tensor:
    x, indices, axis = values[0], values[1].long(), attributes.get("axis", 0)
    axis %= x.ndim
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    found = x.index_select(axis, indices.reshape(-1).to(x.device))
    return found.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


_FLOATS = (1, 10, 11, 16)
"""Numbers of ONNX's types with a point; all are float32 here."""


def _cast(values: Values, attributes: Attributes) -> Tensor:
    kind = attributes["to"]
    if kind in _FLOATS:
        return values[0].float()
    return values[0].bool() if kind == 9 else values[0].long()


def _pool(values: Values, attributes: Attributes, average: bool) -> Tensor:
    (before, after), x, kernel = pads(attributes, 2, "the file"), values[0], attributes["kernel_shape"]
    strides, ceil = attributes.get("strides", [1] * len(kernel)), bool(attributes.get("ceil_mode", 0))
    if average:
        if before != after:
            raise ValueError("an average pool has other padding before than after")
        inside = bool(attributes.get("count_include_pad", 0))
        return F.avg_pool2d(x, kernel, strides, before, ceil, inside)
    x = F.pad(x, (before[1], after[1], before[0], after[0]), value=-torch.inf)
    return F.max_pool2d(x, kernel, strides, 0, attributes.get("dilations", 1), ceil)


def _reduce(function: Callable[..., Tensor], values: Values, attributes: Attributes) -> Tensor:
    axes = _axes(values, attributes)
    if axes is None and attributes.get("noop_with_empty_axes"):
        return values[0]
    return function(values[0], dim=axes or list(range(values[0].ndim)), keepdim=bool(attributes.get("keepdims", 1)))


def _softmax(values: Values, attributes: Attributes) -> Tensor:
    x = values[0]
    if attributes["opset"] >= 13:
        return x.softmax(attributes.get("axis", -1))
    return x.flatten(attributes.get("axis", 1)).softmax(-1).reshape(x.shape)


def _batch_norm(values: Values, attributes: Attributes) -> Tensor:
    x, scale, offset, mean, variance = values[:5]
    return F.batch_norm(x, mean, variance, scale, offset, eps=attributes.get("epsilon", 1e-5))


def _layer_norm(values: Values, attributes: Attributes) -> Tensor:
    x, axis = values[0], attributes.get("axis", -1)
    shape = x.shape[axis:]
    offset = values[2] if len(values) > 2 else None
    return F.layer_norm(x, shape, values[1].reshape(shape), offset, attributes.get("epsilon", 1e-5))


def _normalise(values: Values, attributes: Attributes) -> Tensor:
    return F.normalize(values[0], attributes.get("p", 2), attributes.get("axis", -1))


def _pad(values: Values, attributes: Attributes) -> Tensor:
    pads = values[1].tolist() if len(values) > 1 else attributes["pads"]
    fill = values[2] if len(values) > 2 and values[2] is not None else attributes.get("value", 0.0)
    half = len(pads) // 2
    turned = [int(each) for place in reversed(range(half)) for each in (pads[place], pads[half + place])]
    mode = attributes.get("mode", b"constant").decode()
    if mode != "constant":
        raise ValueError(f"a padding by {mode}")
    return F.pad(values[0], turned, value=float(fill))


def _filled(values: Values, attributes: Attributes) -> Tensor:
    from onnx import numpy_helper

    value = tensor(numpy_helper.to_array(attributes["value"])) if "value" in attributes else torch.zeros(1)
    return value.reshape(()).expand([int(size) for size in values[0].tolist()]).clone()


def _expand(values: Values, attributes: Attributes) -> Tensor:
    sizes = [int(size) for size in values[1].tolist()]
    return values[0].expand(torch.broadcast_shapes(values[0].shape, tuple(sizes)))  # type: ignore[no-untyped-call]


def _same(function: Any) -> Callable[[Values, Attributes], Tensor]:
    """Return an operator that is a function of torch with the same inputs."""
    return lambda values, _: function(*values)


def _hard_sigmoid(values: Values, attributes: Attributes) -> Tensor:
    return (attributes.get("alpha", 0.2) * values[0] + attributes.get("beta", 0.5)).clamp(0, 1)


def _gelu(values: Values, attributes: Attributes) -> Tensor:
    return F.gelu(values[0], approximate=attributes.get("approximate", b"none").decode())


OPERATORS: Mapping[str, Callable[[Values, Attributes], Any]] = {
    **{
        name: _same(function)
        for name, function in {
            "Relu": torch.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Erf": torch.erf, "Sqrt": torch.sqrt,
            "Exp": torch.exp, "Log": torch.log, "Neg": torch.neg, "Abs": torch.abs, "Reciprocal": torch.reciprocal,
            "Sin": torch.sin, "Cos": torch.cos, "Not": torch.logical_not, "Identity": torch.clone, "Pow": torch.pow,
            "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "MatMul": torch.matmul, "Equal": torch.eq,
            "Where": torch.where, "Softplus": F.softplus, "HardSwish": F.hardswish, "Mish": F.mish,
            "Floor": torch.floor,
        }.items()
    },
    "Div": _divide, "PRelu": _prelu, "Clip": _clip, "Gemm": _gemm, "Reshape": _reshape, "Flatten": _flatten,
    "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Split": _split, "Slice": _slice, "Gather": _gather, "Cast": _cast,
    "Softmax": _softmax, "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm, "Gelu": _gelu,
    "LpNormalization": _normalise, "Pad": _pad, "ConstantOfShape": _filled, "Expand": _expand,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": lambda values, attributes: F.leaky_relu(values[0], attributes.get("alpha", 0.01)),
    "Elu": lambda values, attributes: F.elu(values[0], attributes.get("alpha", 1.0)),
    "Dropout": lambda values, _: values[0],
    "Concat": lambda values, attributes: torch.cat(list(values), attributes["axis"]),
    "Transpose": lambda values, attributes: values[0].permute(attributes["perm"]),
    "Shape": lambda values, _: torch.tensor(values[0].shape),
    "CumSum": lambda values, _: values[0].cumsum(int(values[1])),
    "GlobalAveragePool": lambda values, _: values[0].mean((2, 3), keepdim=True),
    "AveragePool": lambda values, attributes: _pool(values, attributes, True),
    "MaxPool": lambda values, attributes: _pool(values, attributes, False),
    "ReduceMean": lambda values, attributes: _reduce(torch.mean, values, attributes),
    "ReduceSum": lambda values, attributes: _reduce(torch.sum, values, attributes),
    "ReduceMax": lambda values, attributes: _reduce(torch.amax, values, attributes),
    "ReduceMin": lambda values, attributes: _reduce(torch.amin, values, attributes),
    "ReduceL2": lambda values, attributes: _reduce(torch.linalg.vector_norm, values, attributes),
}  # fmt: skip
"""Operators by name: inputs and attributes -> output, or a tuple of outputs."""

"""ONNX graphs as torch modules: a face-recognition network from an ONNX file, with gradients.

It knows the operators of face-recognition networks (`OPERATORS`). Batch norms are folded into the convolutions before
them. A file for a fixed number of faces works for any number. Before it is used, a network is compared with
onnxruntime.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdk.errors import ModelError
from sdk.models.loading import Model
from train.networks.recognition.onnx_network import OnnxNetwork

TOLERANCE = 1e-3
"""Largest difference from onnxruntime's embedding, as a share of its length."""

Attributes = Mapping[str, Any]
Values = Sequence[Any]
"""Inputs of an operator: tensors, and None for one that is left out."""


def torch_network(file: Model, reference: OnnxNetwork) -> nn.Module:
    """Make a torch network of an ONNX file: faces as the file takes them, as float32 -> embeddings (N, D).

    Args:
        file: The file.
        reference: The same file in onnxruntime, with which the network is compared.

    Raises:
        ModelError: The file has an operator that is not known here, the network gives something else than onnxruntime,
            or no gradient reaches the faces.
    """
    import onnx

    graph = onnx.load_from_string(file.data)
    name = next(
        (output.name for output in graph.graph.output if output.name == "embedding"), graph.graph.output[0].name
    )
    network = _Importer(graph, name, str(file.path)).network()
    shape = (3, *reference.input.shape)
    draw = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    faces = (draw * 255).round() if reference.input.dtype == "uint8" else 2 * draw - 1
    wanted = reference(faces)
    try:
        found = network(faces.requires_grad_())
    except (RuntimeError, ModelError) as error:
        raise ModelError(f"{file.path}: {error}") from error
    if found.shape != wanted.shape:
        raise ModelError(f"{file.path} gives {tuple(found.shape)} in torch, {tuple(wanted.shape)} in onnxruntime")
    difference = float(((found.detach() - wanted).norm(dim=1) / wanted.norm(dim=1)).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{file.path} gives other embeddings in torch than in onnxruntime (by {difference:.2g} of their length, "
            f"wanted at most {TOLERANCE}); {_WITHOUT}"
        )
    if not found.requires_grad:
        raise ModelError(f"{file.path} has no gradient at its faces; {_WITHOUT}")
    return network.requires_grad_(False).eval()


_WITHOUT = "take a method without gradients, such as `fiqa-train label norm`, or a torch network"


@dataclass(frozen=True, slots=True)
class _Step:
    """A node: the name of its operator, or of its layer, and the names of its values."""

    operator: str
    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes
    last: tuple[str, ...]  # values that no later step reads


class OnnxGraph(nn.Module):
    """A graph that runs its nodes one by one. Constants are buffers, convolutions are layers.

    Attributes:
        values: Name of the value in the file that each module gives, by the module's name.
    """

    def __init__(
        self,
        steps: Sequence[_Step],
        layers: Mapping[str, nn.Module],
        constants: Mapping[str, Tensor],
        ends: tuple[str, str],
        values: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.values = values
        self._steps, (self._source, self._result) = list(steps), ends
        self.layers = nn.ModuleDict(layers)
        self._names = {name: f"constant{index}" for index, name in enumerate(constants)}
        for name, value in constants.items():
            self.register_buffer(self._names[name], value)

    def forward(self, faces: Tensor) -> Tensor:
        values: dict[str, Any] = {name: getattr(self, place) for name, place in self._names.items()}
        values[self._source], values[""] = faces, None
        for step in self._steps:
            inputs = [values[name] for name in step.inputs]
            try:
                if step.layer:
                    found = self.layers[step.layer](inputs[0])
                else:
                    found = OPERATORS[step.operator](inputs, step.attributes)
            except (ValueError, IndexError, TypeError) as error:
                raise ModelError(f"the operator {step.operator} cannot be run in torch: {error}; {_WITHOUT}") from error
            for name, value in zip(step.outputs, found if isinstance(found, tuple) else (found,), strict=False):
                values[name] = value
            for name in step.last:
                del values[name]
        return values[self._result]


class _Importer:
    """Turns an ONNX graph into an `OnnxGraph`."""

    def __init__(self, model: Any, result: str, where: str) -> None:
        from onnx import numpy_helper

        graph = model.graph
        self._where = where
        self._opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
        self._constants = {each.name: _tensor(numpy_helper.to_array(each)) for each in graph.initializer}
        source = next(each for each in graph.input if each.name not in self._constants)
        sizes = source.type.tensor_type.shape.dim
        self._batch = sizes[0].dim_value if sizes and sizes[0].HasField("dim_value") else 0
        self._source, self._result = source.name, result
        self._nodes = _needed(graph.node, result)
        self._uses = Counter(name for node in self._nodes for name in node.input) + Counter([result])
        self._layers: dict[str, nn.Module] = {}
        self._convolutions: dict[str, nn.Conv2d] = {}  # by the value that they give
        self._aliases: dict[str, str] = {}
        self._steps: list[_Step] = []

    def network(self) -> OnnxGraph:
        """Return the module."""
        missing = sorted({node.op_type for node in self._nodes} - {*OPERATORS, "Constant", "Conv"})
        if missing:
            raise ModelError(
                f"{self._where} has the operator {', '.join(missing)}, which has no gradient here; {_WITHOUT}"
            )
        for node in self._nodes:
            self._add(node)
        result = self._aliases.get(self._result, self._result)
        read = {name for step in self._steps for name in step.inputs}
        constants = {name: value for name, value in self._constants.items() if name in read or name == result}
        ends = (self._source, result)
        return OnnxGraph(self._with_ends(result, set(constants)), self._layers, constants, ends, self._values())

    def _values(self) -> dict[str, str]:
        """Return the file's value that each module gives: after the batch norm that was folded into it."""
        last = {target: name for name, target in self._aliases.items()}  # of several norms the last one
        found = {"": self._result}
        for step in (step for step in self._steps if step.layer):
            place, value = f"layers.{step.layer}", last.get(step.outputs[0], step.outputs[0])
            found[place] = value
            if isinstance(self._layers[step.layer], nn.Sequential):  # padding, whose length is its input's; convolution
                found |= {f"{place}.0": last.get(step.inputs[0], step.inputs[0]), f"{place}.1": value}
        return found

    def _add(self, node: Any) -> None:
        from onnx import helper

        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        attributes["opset"] = self._opset
        inputs = tuple(self._aliases.get(name, name) for name in node.input)
        if node.op_type == "Constant":
            self._constants[node.output[0]] = _constant(attributes)
            return
        if all(not name or name in self._constants for name in inputs):
            self._fold(node, inputs, attributes)
            return
        if node.op_type == "BatchNormalization" and self._into_convolution(node, inputs, attributes):
            return
        if node.op_type == "Reshape" and inputs[1] in self._constants:
            inputs = (inputs[0], self._any_batch(inputs[1]))
        layer = ""
        if node.op_type == "Conv":
            if not all(name in self._constants for name in inputs[1:] if name):
                raise ModelError(f"{self._where} has a convolution whose weights are computed; {_WITHOUT}")
            layer = f"layer{len(self._layers)}"
            self._layers[layer] = self._convolution(inputs, attributes, node.output[0])
            inputs = inputs[:1]
        self._steps.append(_Step(node.op_type, layer, inputs, tuple(node.output), attributes, ()))

    def _fold(self, node: Any, inputs: tuple[str, ...], attributes: Attributes) -> None:
        """Compute a node of constants now."""
        values = [self._constants[name] if name else None for name in inputs]
        found = OPERATORS[node.op_type](values, attributes)
        for name, value in zip(node.output, found if isinstance(found, tuple) else (found,), strict=False):
            self._constants[name] = value

    def _any_batch(self, name: str) -> str:
        """Return the name of a shape that holds for any number of faces, where this one is for a fixed number."""
        shape = self._constants[name]
        if not self._batch or shape.numel() < 2 or int(shape[0]) != self._batch:
            return name
        free = shape.clone()
        free[0] = 0 if (shape == -1).any() else -1  # 0 copies the size of what is reshaped
        self._constants[f"{name}/any"] = free
        return f"{name}/any"

    def _convolution(self, inputs: tuple[str, ...], attributes: Attributes, output: str) -> nn.Module:
        weight = self._constants[inputs[1]]
        bias = self._constants[inputs[2]] if len(inputs) > 2 and inputs[2] else None
        if weight.ndim != 4:
            raise ModelError(f"{self._where} has a convolution of {weight.ndim - 2} dimensions, wanted 2; {_WITHOUT}")
        before, after = _pads(attributes, 2, self._where)
        convolution = nn.Conv2d(
            weight.shape[1] * attributes.get("group", 1),
            weight.shape[0],
            (weight.shape[2], weight.shape[3]),
            tuple(attributes.get("strides", (1, 1))),
            (before[0], before[1]) if before == after else 0,
            tuple(attributes.get("dilations", (1, 1))),
            attributes.get("group", 1),
            bias is not None,
        )
        convolution.weight.data = weight.clone()
        if bias is not None and convolution.bias is not None:
            convolution.bias.data = bias.clone()
        self._convolutions[output] = convolution
        if before == after:
            return convolution
        return nn.Sequential(nn.ZeroPad2d((before[1], after[1], before[0], after[0])), convolution)

    def _into_convolution(self, node: Any, inputs: tuple[str, ...], attributes: Attributes) -> bool:
        """Fold a batch norm into the convolution before it; return whether that is possible."""
        convolution = self._convolutions.get(inputs[0])
        if convolution is None or self._uses[node.input[0]] != 1:
            return False
        scale, offset, mean, variance = (self._constants[name] for name in inputs[1:5])
        factor = scale / torch.sqrt(variance + attributes.get("epsilon", 1e-5))
        bias = convolution.bias.data if convolution.bias is not None else torch.zeros_like(mean)
        convolution.weight.data = convolution.weight.data * factor.view(-1, 1, 1, 1)
        convolution.bias = nn.Parameter((bias - mean) * factor + offset)
        self._aliases[node.output[0]] = inputs[0]
        self._convolutions[inputs[0]] = convolution
        return True

    def _with_ends(self, result: str, constants: set[str]) -> list[_Step]:
        """Return the steps, each with the values that may go after it."""
        kept = {result, self._source, "", *constants}
        steps: list[_Step] = []
        for step in reversed(self._steps):
            last = tuple({name for name in (*step.inputs, *step.outputs) if name not in kept})
            kept.update(last)
            steps.append(_Step(step.operator, step.layer, step.inputs, step.outputs, step.attributes, last))
        return steps[::-1]


def _needed(nodes: Sequence[Any], result: str) -> list[Any]:
    """Return the nodes that a result depends on, in their order."""
    wanted, found = {result}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            found.append(node)
    return found[::-1]


def _tensor(array: Any) -> Tensor:
    """Return an array as a tensor; numbers with a point as float32."""
    value = torch.from_numpy(np.array(array))
    return value.float() if value.is_floating_point() else value


def _constant(attributes: Attributes) -> Tensor:
    from onnx import numpy_helper

    if "value" in attributes:
        return _tensor(numpy_helper.to_array(attributes["value"]))
    value = next(value for name, value in attributes.items() if name.startswith("value_"))
    return torch.tensor(value)


def _pads(attributes: Attributes, dimensions: int, where: str) -> tuple[list[int], list[int]]:
    """Return the padding before and after, of each dimension."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ModelError(f"{where} pads by auto_pad, wanted pads; export it again, or {_WITHOUT}")
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
    (before, after), x, kernel = _pads(attributes, 2, "the file"), values[0], attributes["kernel_shape"]
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

    value = _tensor(numpy_helper.to_array(attributes["value"])) if "value" in attributes else torch.zeros(1)
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

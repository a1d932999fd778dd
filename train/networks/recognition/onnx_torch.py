"""ONNX graphs as torch modules: a face-recognition network from an ONNX file, with gradients.

It knows the operators of face-recognition networks (`OPERATORS`). Batch norms are folded into the convolutions before
them. A file for a fixed number of faces works for any number. Before it is used, a network is compared with
onnxruntime.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sdk.errors import ModelError
from sdk.models.loading import Model
from train.networks.recognition.onnx_network import OnnxNetwork
from train.networks.recognition.onnx_operators import OPERATORS, WITHOUT, Attributes, pads, tensor

TOLERANCE = 1e-3
"""Largest difference from onnxruntime's embedding, as a share of its length."""


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
            f"wanted at most {TOLERANCE}); {WITHOUT}"
        )
    if not found.requires_grad:
        raise ModelError(f"{file.path} has no gradient at its faces; {WITHOUT}")
    return network.requires_grad_(False).eval()


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
                raise ModelError(f"the operator {step.operator} cannot be run in torch: {error}; {WITHOUT}") from error
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
        self._constants = {each.name: tensor(numpy_helper.to_array(each)) for each in graph.initializer}
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
                f"{self._where} has the operator {', '.join(missing)}, which has no gradient here; {WITHOUT}"
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
                raise ModelError(f"{self._where} has a convolution whose weights are computed; {WITHOUT}")
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
            raise ModelError(f"{self._where} has a convolution of {weight.ndim - 2} dimensions, wanted 2; {WITHOUT}")
        before, after = pads(attributes, 2, self._where)
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


def _constant(attributes: Attributes) -> Tensor:
    from onnx import numpy_helper

    if "value" in attributes:
        return tensor(numpy_helper.to_array(attributes["value"]))
    value = next(value for name, value in attributes.items() if name.startswith("value_"))
    return torch.tensor(value)

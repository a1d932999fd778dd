"""Small ONNX models with every kind of PReLU, made from a seed."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sdk.models.card import METADATA_KEY, ModelCard

CHANNELS = 8


def tiny_card(**changes: Any) -> ModelCard:
    """Return the card of `tiny_model()`."""
    return ModelCard.from_dict({"name": "tiny", "licence": "Apache-2.0", **changes})


def tiny_model(
    card: ModelCard | None = None,
    *,
    uint8: bool = True,
    batch: int | str = "batch",
    outputs: int = 1,
    prelu: bool = True,
) -> onnx.ModelProto:
    """Return a quality network of a few layers.

    Args:
        card: Written into the metadata; None for none.
        uint8: Take uint8 BGR NHWC faces, as exported models do; else float32 RGB NCHW in [-1, 1]. Equal scores.
        batch: Batch size, text for any.
        outputs: 2 for a second output, the features.
        prelu: Activate with PReLU (slopes as initialisers and constants, one a channel or one in all); else with ReLU.
    """
    draw = np.random.default_rng(7)

    def weights(*shape: int) -> NDArray[np.float32]:
        return (draw.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    nodes, constants = [], {}

    def add(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def constant(name: str, value: Any) -> str:
        constants[name] = np.asarray(value)
        return name

    def activation(x: str, name: str, shape: tuple[int, ...], as_node: bool = False) -> str:
        slopes = (0.25 + 0.1 * draw.standard_normal(shape)).astype(np.float32)
        if not prelu:
            return add("Relu", [x], name)
        if as_node:
            add("Constant", [], f"{name}_slope", value=numpy_helper.from_array(slopes))
        else:
            constant(f"{name}_slope", slopes)
        return add("PRelu", [x, f"{name}_slope"], name)

    if uint8:
        x = add("Cast", ["image"], "float", to=TensorProto.FLOAT)
        x = add("Div", [x, constant("half", np.float32(127.5))], "scaled")
        x = add("Sub", [x, constant("one", np.float32(1))], "centred")
        x = add("Transpose", [x], "bgr", perm=[0, 3, 1, 2])
        x = add("Gather", [x, constant("order", np.array([2, 1, 0]))], "rgb", axis=1)
    else:
        x = "image"
    x = add("Conv", [x, constant("w1", weights(CHANNELS, 3, 3, 3))], "conv1", strides=[4, 4])
    x = activation(x, "act1", (CHANNELS, 1, 1))
    x = add("Conv", [x, constant("w2", weights(CHANNELS, 1, 3, 3))], "conv2", group=CHANNELS, strides=[2, 2])
    statistics = (("scale", 1.1), ("bias", 0.1), ("mean", 0.05), ("variance", 0.8))
    x = add(
        "BatchNormalization",
        [x, *(constant(name, np.full(CHANNELS, value, np.float32)) for name, value in statistics)],
        "bn2",
    )
    x = activation(x, "act2", (1, CHANNELS, 1, 1), as_node=True)
    x = add("Conv", [x, constant("w3", weights(CHANNELS, CHANNELS, 1, 1))], "conv3")
    x = activation(x, "act3", (1,))
    x = add("Flatten", [add("GlobalAveragePool", [x], "pooled")], "flat")
    x = activation(x, "features", (CHANNELS,))
    x = add("Gemm", [x, constant("w4", weights(1, CHANNELS)), constant("b4", np.zeros(1, np.float32))], "raw", transB=1)
    add("Sigmoid", [x], "quality")

    face = (112, 112, 3) if uint8 else (3, 112, 112)
    image = helper.make_tensor_value_info("image", TensorProto.UINT8 if uint8 else TensorProto.FLOAT, [batch, *face])
    sizes = (("quality", 1), ("features", CHANNELS))[:outputs]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [image],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, size]) for name, size in sizes],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if card is not None:
        helper.set_model_props(model, {METADATA_KEY: json.dumps(card.to_dict())})
    onnx.checker.check_model(model)
    return model


def embedding_model(batch: int | str = "batch", size: int = 8) -> onnx.ModelProto:
    """Return a network of one layer: float32 RGB NCHW faces -> embeddings (N, size) of their means in 7 x 7 blocks."""
    weights = np.random.default_rng(3).standard_normal((3 * 7 * 7, size)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["faces"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "embedding",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, [batch, 3, 112, 112])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, size])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def recognition_model(batch: int | str = "batch", odd: str = "") -> onnx.ModelProto:
    """Return a face-recognition network of a few layers: float32 RGB NCHW faces -> embeddings (N, 16).

    Args:
        batch: Batch size, text for any. With a number, the embedding's shape is a constant, as in many files.
        odd: An operator without inputs of its own that is put before the last layer, such as `Round`.
    """
    draw = np.random.default_rng(11)
    values: dict[str, NDArray[Any]] = {}

    def weights(name: str, *shape: int) -> str:
        size = np.prod(shape[1:]) if len(shape) > 1 else 1
        values[name] = (draw.standard_normal(shape) / np.sqrt(size)).astype(np.float32)
        return name

    def norm(name: str, size: int) -> list[str]:
        values[f"{name}.scale"] = draw.uniform(0.5, 1.5, size).astype(np.float32)
        values[f"{name}.variance"] = draw.uniform(0.5, 1.5, size).astype(np.float32)
        return [f"{name}.scale", weights(f"{name}.bias", size), weights(f"{name}.mean", size), f"{name}.variance"]

    values["slope"] = draw.uniform(0.1, 0.4, (8, 1, 1)).astype(np.float32)
    values["shape"] = np.array([batch, 512] if isinstance(batch, int) else [-1, 512])
    make = helper.make_node
    nodes = [
        make("Conv", ["faces", weights("w1", 8, 3, 3, 3)], ["c1"], strides=[4, 4], pads=[1, 1, 1, 1]),
        make("BatchNormalization", ["c1", *norm("n1", 8)], ["b1"]),
        make("PRelu", ["b1", "slope"], ["a1"]),
        make("Conv", ["a1", weights("w2", 8, 1, 3, 3)], ["c2"], group=8, pads=[1, 1, 1, 1]),
        make("BatchNormalization", ["c2", *norm("n2", 8)], ["b2"]),
        make("Add", ["b2", "a1"], ["s"]),
        make("Sigmoid", ["s"], ["g"]),
        make("Mul", ["s", "g"], ["m"]),
        make("AveragePool", ["m"], ["p"], kernel_shape=[4, 4], strides=[3, 3]),
        make("Slice", ["p", "start", "end", "axes"], ["cut"]),
        make("Reshape", ["cut", "shape"], ["flat"]),
        *([make(odd, ["flat"], ["odd"])] if odd else []),
        make("Gemm", ["odd" if odd else "flat", weights("w3", 16, 512), weights("o3", 16)], ["e"], transB=1),
        make("BatchNormalization", ["e", *norm("n3", 16)], ["embedding"]),
    ]
    values |= {"start": np.array([0, 0]), "end": np.array([8, 8]), "axes": np.array([2, 3])}
    graph = helper.make_graph(
        nodes,
        "recognition",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, [batch, 3, 112, 112])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 16])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def write_faces(folder: Path, count: int) -> Path:
    """Write `faces(count)` as crops `00.png`, `01.png` ... into a new folder, and return it."""
    folder.mkdir()
    for index, crop in enumerate(faces(count)):
        cv2.imwrite(str(folder / f"{index:02}.png"), crop)
    return folder


def faces(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return uint8 (count, 112, 112, 3) of smooth noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (count, 14, 14, 3), dtype=np.uint8)
    return noise.repeat(8, axis=1).repeat(8, axis=2)

"""Step 1 for a checkpoint: a torch network becomes a float NCHW graph."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from export.graph.front_end import OPSET, OUTPUT
from sdk.alignment import CROP_SIZE


def from_network(network: nn.Module) -> onnx.ModelProto:
    """Trace a network with torch's dynamo exporter, which folds the batch norms that it can.

    Args:
        network: Normalised RGB (N, 3, 112, 112) -> quality (N, 1), on the CPU.

    Returns:
        float32 (batch, 3, 112, 112) -> float32 (batch, 1), weights inside.
    """
    # A sample batch of 1 would be taken for a constant.
    sample = torch.zeros(2, 3, CROP_SIZE, CROP_SIZE)
    return trace(network, sample, "normalised", OUTPUT, {0: torch.export.Dim("batch")})


def trace(network: nn.Module, sample: Tensor, source: str, output: str, dynamic: dict[int, Any]) -> onnx.ModelProto:
    """Trace a network of one input and one output with torch's dynamo exporter.

    Args:
        network: On the CPU.
        sample: An input.
        source: Name of the input.
        output: Name of the output.
        dynamic: Axes of the input that may have other sizes, as `torch.export` describes them.

    Returns:
        The graph, weights inside.
    """
    with _quiet_exporter():
        program = torch.onnx.export(
            network.eval(),
            (sample,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[source],
            output_names=[output],
            dynamic_shapes=(dynamic,),
            external_data=False,
            verbose=False,
        )
    if program is None:  # only the older exporter gives None
        raise RuntimeError("torch.onnx.export returned nothing")
    return program.model_proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep torch's exporter from warning its users of its own insides."""
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter_log.setLevel(level)

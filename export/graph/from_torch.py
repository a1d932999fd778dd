"""Turn a torch network into an ONNX graph."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from export.graph.ends import OPSET
from export.graph.front_end import OUTPUT
from sdk.alignment import CROP_SIZE


class TakesImages(nn.Module):
    """A network with colour order, layout and normalisation to [-1, 1] inside."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        """uint8 BGR (N, H, W, 3) -> what the network gives for RGB (N, 3, H, W)."""
        return self.network(images.flip(-1).permute(0, 3, 1, 2).float() / 127.5 - 1)


def trace_network(network: nn.Module, outputs: Sequence[str] = (OUTPUT,)) -> onnx.ModelProto:
    """Turn a quality network of torch into ONNX.

    Args:
        network: Normalised RGB (N, 3, 112, 112) -> quality (N, 1), on the CPU; or a tuple of several outputs.
        outputs: Names of the outputs.

    Returns:
        float32 (batch, 3, 112, 112) -> float32 (batch, 1), opset 20, weights inside.
    """
    # The exporter would take a batch of 1 for a constant.
    sample = torch.zeros(2, 3, CROP_SIZE, CROP_SIZE)
    return trace(network, sample, "normalised", outputs, {0: torch.export.Dim("batch")})


def trace(
    network: nn.Module, sample: Tensor, source: str, outputs: Sequence[str], dynamic: dict[int, Any]
) -> onnx.ModelProto:
    """Trace a network of one input with torch's dynamo exporter, which folds batch norms where it can.

    Args:
        network: On the CPU.
        sample: An input.
        source: Name of the input.
        outputs: Names of the outputs.
        dynamic: Axes of the input that are free, as `torch.export` describes them.

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
            output_names=list(outputs),
            dynamic_shapes=(dynamic,),
            external_data=False,
            verbose=False,
        )
    if program is None:  # only the older exporter returns None
        raise RuntimeError("torch.onnx.export returned nothing")
    return program.model_proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the exporter's warnings, which are about its own code."""
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter_log.setLevel(level)

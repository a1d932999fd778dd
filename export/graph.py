"""Step 1 for a checkpoint: a torch network becomes a float NCHW graph."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from torch import nn

from export.frontend import OPSET, OUTPUT
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
    with quiet_exporter():
        program = torch.onnx.export(
            network.eval(),
            (sample,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["normalised"],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
    if program is None:  # only the older exporter gives None
        raise RuntimeError("torch.onnx.export returned nothing")
    return program.model_proto


@contextmanager
def quiet_exporter() -> Iterator[None]:
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

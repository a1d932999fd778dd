"""The backbone that a training starts from: that of the model in the package."""

from pathlib import Path

import torch
from torch import nn

from sdk.errors import InputError
from sdk.models.loading import load_model
from train.networks import QualityNetwork, create_network, save_network

PACKAGED = "fiqa-nano"


def packaged_backbone(network: str, path: Path) -> Path:
    """Write the backbone of the model in the package as a checkpoint, once.

    In the file batch norms are folded into convolutions. Here each is put beside its convolution again, as a shift: the
    same function, which can be trained.

    Args:
        network: Name of the network to train.
        path: `.safetensors` to write.

    Returns:
        The path.

    Raises:
        InputError: The network is another one than that in the package.
    """
    import onnx
    from onnx import numpy_helper

    if network != PACKAGED:
        raise InputError(f"start is {PACKAGED}, but the network is {network}; name a teacher with weights instead")
    if path.exists():
        return path
    whole = create_network(network)
    assert isinstance(whole, QualityNetwork)
    graph = onnx.load_from_string(load_model(PACKAGED).data).graph
    values = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    first = "base_model.conv1.0.weight"
    values[first] = values[first].flip(1)  # the file takes BGR
    modules = list(whole.base_model.named_modules())
    norms = [(place, module) for place, (_, module) in enumerate(modules) if isinstance(module, nn.BatchNorm2d)]
    for place, (name, convolution) in enumerate(modules):
        key = f"base_model.{name}.weight"
        if isinstance(convolution, nn.Conv2d) and key in values:
            norm = next(module for after, module in norms if after > place)
            convolution.weight.data.copy_(values[key])
            norm.bias.data.copy_(values[f"{key}_bias"])
            norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
    save_network(whole.base_model, path)
    return path

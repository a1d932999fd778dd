"""GraFIQs: quality from the gradients that a face's batch-norm statistics cause.

Kolf, Damer and Boutros, "GraFIQs: Face Image Quality Assessment Using Gradient Magnitudes", CVPR Workshops 2024. The
batch norms of a face-recognition network hold the mean and variance that its training faces had. A face whose own
statistics are far from them would change the network much; the sum of the absolute gradients says how much.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor, nn

from sdk.errors import InputError
from train.data.dataset import rgb_images
from train.labelling.parameters import Colour, Mean, RecognitionName, Size, Std, Weights
from train.lazy import Lazy
from train.networks.recognition import RecognitionModel, fingerprint, load_recognition_model, placed

IMAGE = "image"
"""Place of the gradients at the normalised face."""


def gradient_magnitudes(network: nn.Module, faces: Tensor, layer: str = IMAGE) -> Tensor:
    """Return the sum of the absolute gradients of each face, (N,).

    The loss of a face is the mean over the 2-D batch norms of the squared differences of its means and of its variances
    from those of the norm, each averaged over channels.

    Args:
        network: Normalised faces (N, 3, H, W) -> embeddings, in evaluation mode.
        faces: See there.
        layer: `image`, or the module at whose output the gradients are taken.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    losses: list[Tensor] = []
    places: list[Tensor] = []

    def compare(norm: nn.BatchNorm2d, inputs: tuple[Tensor], output: Tensor) -> None:
        mean, variance = inputs[0].mean((2, 3)), inputs[0].var((2, 3), correction=0)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        losses.append((mean - norm.running_mean).square().mean(1) + (variance - norm.running_var).square().mean(1))

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        places.append(output)

    hooks = [norm.register_forward_hook(compare) for norm in norms]
    if layer != IMAGE:
        hooks.append(dict(network.named_modules())[layer].register_forward_hook(keep))
    try:
        with torch.enable_grad():
            images = faces.detach().requires_grad_()
            network(images)
            place = images if layer == IMAGE else places[-1]
            (gradients,) = torch.autograd.grad(torch.stack(losses).mean(0).sum(), place)
    finally:
        for hook in hooks:
            hook.remove()
    return gradients.abs().flatten(1).sum(1)


class GraFIQsLabeller:
    """GraFIQs over batches of crops: minus the magnitude, so that a higher label is a better face.

    Args:
        model: Face-recognition model, whose network has batch norms with statistics.
        layer: See `gradient_magnitudes`.
        device: Where to compute.

    Raises:
        InputError: The network has no batch norms, or no such layer.
    """

    name = "grafiqs"

    def __init__(self, model: RecognitionModel, layer: str = IMAGE, device: str = "cpu") -> None:
        modules = dict(model.network.named_modules())
        if not any(isinstance(module, nn.BatchNorm2d) and module.track_running_stats for module in modules.values()):
            raise InputError(
                "the network has no batch norms, which GraFIQs needs (ONNX files have them folded into convolutions); "
                "give one of our networks with --weights, or a function of your own"
            )
        if layer != IMAGE and layer not in modules:
            names = [name for name, _ in model.network.named_children()]
            raise InputError(f"the network has no layer {layer!r}, wanted image or a layer, such as {', '.join(names)}")
        self.record = {"weights": fingerprint(model), "layer": layer}
        self._layer, self._device = layer, device
        self._model = Lazy(partial(placed, model.requires_grad_(False), device))

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        model = self._model()
        images = model.normalised(rgb_images(faces).to(self._device).float() / 255)
        return {self.name: -gradient_magnitudes(model.network, images, self._layer).cpu().double().numpy()}


def grafiqs_labeller(
    model: RecognitionName = "mobilefacenet128",
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    colour: Colour = None,
    size: Size = None,
    layer: Annotated[
        str, typer.Option(help="Where gradients are taken: image, or a layer, such as layer2 of an IResNet.")
    ] = IMAGE,
    device: str = "cpu",
) -> GraFIQsLabeller:
    """Make a labeller of the options of `fiqa-train label grafiqs`."""
    return GraFIQsLabeller(load_recognition_model(model, weights, mean, std, True, colour, size), layer, device)

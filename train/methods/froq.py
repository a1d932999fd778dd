"""FROQ: quality from a face-recognition network's own layers, in one pass and without training.

Babnik, Jain, Peer and Štruc, "FROQ: Observing Face Recognition Models for Efficient Quality Assessment", 2025. On a
small calibration set, pseudo-labels say how stable an embedding is: against mirroring, noise and covered cells. The
layers whose output's length follows these labels best are chosen once. The score of a face is the mean length of their
outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from sdk.commands.console import progress_bar
from sdk.errors import InputError
from sdk.files import check_suffix, write_json
from train.data.dataset import rgb_images
from train.data.manifest import Manifest, read_manifest
from train.labelling.parameters import Colour, Mean, RecognitionName, Seed, Size, Std, Weights
from train.lazy import Lazy
from train.networks.recognition import RecognitionModel, fingerprint, load_recognition_model, placed
from train.run_state import read_record

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class FROQSettings:
    """Settings of the pseudo-labels and of the choice of layers. The defaults are the published values.

    Attributes:
        noise: Share a of the noise, for pixels in [-1, 1]: `(1 - a) x + a e`.
        masks: Masks of noise, each drawn once for all images.
        cell: Side of a covered cell, pixels.
        layers: Most layers that are looked at together.
        images: Most images of the calibration set that are taken, evenly.
        seed: Of the masks.
    """

    noise: float = 0.001
    masks: int = 10
    cell: int = 14
    layers: int = 10
    images: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.noise < 1 or min(self.masks, self.layers) < 1 or self.cell < 1 or self.images < 10:
            raise InputError(
                f"noise={self.noise}, masks={self.masks}, cell={self.cell}, layers={self.layers}, "
                f"images={self.images}: wanted noise in (0, 1), 10 images or more, and other numbers above 0"
            )


@torch.inference_mode()
def pseudo_labels(model: nn.Module, faces: Tensor, settings: FROQSettings) -> Tensor:
    """Return how stable embeddings are, (N,): the mean over mirroring, noise and covered cells.

    Args:
        model: RGB (N, 3, H, W) in [0, 1] -> embeddings (N, D), in evaluation mode.
        faces: float32 RGB (N, 3, H, W) in [0, 1].
        settings: See `FROQSettings`.
    """
    embeddings = model(faces)

    def stable(images: Tensor) -> Tensor:
        return F.cosine_similarity(embeddings, model(images))

    generator = torch.Generator().manual_seed(settings.seed)
    noisy = torch.zeros(len(faces), device=faces.device)
    for _ in range(settings.masks):
        mask = torch.randn(faces.shape[1:], generator=generator).to(faces.device)
        pixels = (1 - settings.noise) * (2 * faces - 1) + settings.noise * mask
        noisy += stable((pixels + 1) / 2) / settings.masks
    height, width = faces.shape[-2:]
    corners = [(y, x) for y in range(0, height, settings.cell) for x in range(0, width, settings.cell)]
    covered = torch.zeros(len(faces), device=faces.device)
    for y, x in corners:
        image = faces.clone()
        image[:, :, y : y + settings.cell, x : x + settings.cell] = 0
        covered += stable(image) / len(corners)
    return (stable(faces.flip(-1)) + noisy + covered) / 3


@torch.inference_mode()
def layer_norms(model: nn.Module, faces: Tensor, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Return the length (N,) of each layer's output, by the layer's name; see `observe`."""
    return observe(model, faces, names)[0]


def observe(model: nn.Module, faces: Tensor, names: Sequence[str] | None = None) -> tuple[dict[str, Tensor], Tensor]:
    """Return the length (N,) of each layer's output, by the layer's name, and what the model gives.

    Args:
        model: See `pseudo_labels`.
        faces: See there.
        names: Layers; None for all modules but the model itself. Of a module that runs several times the last output
            counts.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and output.shape[:1] == faces.shape[:1]:
            found[name] = _lengths(output.float())

    modules = dict(model.named_modules())
    wanted = [name for name in modules if name] if names is None else names
    hooks = [modules[name].register_forward_hook(partial(keep, name)) for name in wanted]
    try:
        given = model(faces)
    finally:
        for hook in hooks:
            hook.remove()
    return found, given


def _lengths(output: Tensor) -> Tensor:
    """Return the lengths (N,); of images first that of each row, for a long sum of squares loses digits elsewhere."""
    rows = output.norm(dim=-1) if output.ndim > 2 else output
    return rows.flatten(1).norm(dim=1) if rows.ndim > 1 else rows.abs()


def choose_layers(norms: Mapping[str, Floats], quality: Floats, most: int) -> list[str]:
    """Choose the layers whose mean length follows pseudo-labels best.

    Args:
        norms: (N,) of each layer.
        quality: (N,) pseudo-labels.
        most: The layers with the highest rank correlations that are looked at. Starting from the best, the layer is
            added that helps most, through all of them; the best part of this sequence is kept.

    Raises:
        InputError: No layer's length follows the labels.
    """
    ranked = {name: _spearman(values, quality) for name, values in norms.items()}
    left = sorted((name for name in ranked if np.isfinite(ranked[name])), key=lambda name: -ranked[name])[:most]
    if not left:
        raise InputError("no layer's output differs between the images; give other images or another model")
    chosen = [left.pop(0)]
    reached = [ranked[chosen[0]]]
    while left:
        tried = [_spearman(np.mean([norms[each] for each in (*chosen, name)], axis=0), quality) for name in left]
        best = int(np.argmax(tried))
        chosen.append(left.pop(best))
        reached.append(tried[best])
    return chosen[: int(np.argmax(reached)) + 1]


def _spearman(values: Floats, quality: Floats) -> float:
    if np.ptp(values) == 0 or not np.isfinite(values).all():
        return float("nan")
    return float(spearmanr(values, quality).statistic)


def calibrate(
    model: RecognitionModel, manifest: Manifest, settings: FROQSettings, device: torch.device, batch: int = 32
) -> list[str]:
    """Choose the layers of a model on images with varied damage, see `choose_layers`.

    Raises:
        InputError: No layer is fit.
        ImageError: An image cannot be read.
    """
    rows = np.unique(np.linspace(0, len(manifest) - 1, min(settings.images, len(manifest))).astype(int))
    labels: list[NDArray[np.float32]] = []
    norms: dict[str, list[NDArray[np.float32]]] = {}
    with progress_bar("froq", len(rows)) as advance:
        for part in np.array_split(rows, -(-len(rows) // batch)):
            faces = rgb_images(manifest.load_faces(part)).to(device).float() / 255
            labels.append(pseudo_labels(model, faces, settings).cpu().numpy())
            for name, values in layer_norms(model, faces).items():
                norms.setdefault(name, []).append(values.cpu().numpy())
            advance(len(part))
    whole = {name: np.concatenate(parts) for name, parts in norms.items()}
    return choose_layers(whole, np.concatenate(labels), settings.layers)


class FROQLabeller:
    """FROQ over batches of crops: one pass of the face-recognition network.

    Args:
        model: Face-recognition model.
        layers: Names of its layers, see `choose_layers`.
        device: Where to compute.
    """

    name = "froq"

    def __init__(self, model: RecognitionModel, layers: Sequence[str], device: str = "cpu") -> None:
        self.device = device
        self.layers = list(layers)
        self.record = {"weights": fingerprint(model), "layers": self.layers}
        if missing := [name for name in layers if name not in dict(model.named_modules())]:
            raise InputError(f"the model has no layer {missing[0]!r}; calibrate it: give another --layers")
        self._model = Lazy(partial(placed, model, device))

    @torch.inference_mode()
    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        images = rgb_images(faces).to(self.device).float() / 255
        found = layer_norms(self._model(), images, self.layers)
        return {self.name: torch.stack(list(found.values())).mean(dim=0).cpu().numpy()}


_PUBLISHED = FROQSettings()


def froq_labeller(
    layers: Annotated[
        Path,
        typer.Option(help="Chosen layers (.json). They are read where the file is there, else chosen and written."),
    ],
    calibration: Annotated[
        Path | None, typer.Option(help="Faces to choose the layers on, damaged ones among them: folder or manifest.")
    ] = None,
    model: RecognitionName = "mobilefacenet128",
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    colour: Colour = None,
    size: Size = None,
    noise: Annotated[float, typer.Option(help="Share of the noise in the pseudo-labels.")] = _PUBLISHED.noise,
    images: Annotated[int, typer.Option(help="Most faces to choose the layers on.")] = _PUBLISHED.images,
    seed: Seed = 0,
    device: str = "cpu",
) -> FROQLabeller:
    """Make a labeller of the options of `fiqa-train label froq`.

    Raises:
        InputError: Neither layers nor faces to choose them on are there, or the layers are of another model.
        ModelError: The model cannot be loaded.
    """
    check_suffix("--layers", layers, (".json",))
    network = load_recognition_model(model, weights, mean, std, True, colour, size).eval()
    if layers.exists():
        return FROQLabeller(network, read_layers(layers, network), device)
    if calibration is None:
        raise InputError(f"{layers} is not there; give --calibration with faces to choose the layers on")
    settings = FROQSettings(noise=noise, images=images, seed=seed)
    chosen = calibrate(network.to(device), read_manifest(calibration), settings, torch.device(device))
    network.to("cpu")
    write_json(layers, {"weights": fingerprint(network), "layers": chosen})
    return FROQLabeller(network, chosen, device)


def read_layers(path: Path, model: RecognitionModel) -> list[str]:
    """Read the layers that were chosen for a model.

    Raises:
        InputError: The file cannot be read, or is of another model.
    """
    kept = read_record(path)
    names = kept.get("layers")
    if kept.get("weights") != fingerprint(model) or not isinstance(names, list):
        raise InputError(f"{path} is of another model; give another file, or delete it to choose layers anew")
    return list(dict.fromkeys(map(str, names)))

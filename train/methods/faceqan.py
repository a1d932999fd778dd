"""FaceQAN: face image quality from adversarial noise.

Babnik, Peer and Štruc, "FaceQAN: Face Image Quality Assessment Through Adversarial Noise Exploration", ICPR 2022.
The embedding of a good face hardly moves under small adversarial noise; that of a poor face does.

The published code attacks one face at a time. Here all faces of a batch are attacked at once, by the gradient of the
sum of their losses. A face has no part in the losses of others, and the sign of a gradient does not depend on its
scale.
"""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from torch import Tensor, nn

from sdk.errors import InputError
from train.data.dataset import rgb_images
from train.device.batches import OnDevice
from train.device.compiling import CompiledForAttack, compile_errors, worth_compiling
from train.labelling.parameters import Colour, Compile, Mean, RecognitionName, Seed, Size, Std, Weights
from train.lazy import Lazy
from train.networks.attack import frozen_for_attack
from train.networks.recognition import RecognitionModel, fingerprint, load_recognition_model

LARGEST = 64
"""Faces on a GPU at once: IResNet-100 with k = 10 takes some 23 GiB for so many in bfloat16."""

COMPILE_FROM = 30_000
"""Images for which a GPU compiles by default: IResNet-100 takes 30 s to compile, and saves 2.5 ms a face."""


@dataclass(frozen=True, slots=True)
class FaceQANSettings:
    """Settings of FaceQAN. The defaults are the published values.

    Attributes:
        epsilon: Size of the noise and of each step, for pixels in [0, 1].
        iterations: Steps of the attack (l).
        copies: Adversarial copies of each face (k).
        exponent: Exponent of the score (p).
        clip: Range that noisy images are clipped to. The published scores were computed with [-1, 1], although images
            are in [0, 1]. (0, 1) clips to the range of images.
    """

    epsilon: float = 0.001
    iterations: int = 5
    copies: int = 10
    exponent: float = 5.0
    clip: tuple[float, float] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.copies < 1 or self.epsilon <= 0:
            raise InputError(
                f"iterations={self.iterations}, copies={self.copies}, epsilon={self.epsilon}: wanted numbers above 0"
            )
        if len(self.clip) != 2 or not self.clip[0] < self.clip[1]:
            raise InputError(f"clip is {self.clip}, wanted two numbers, the lower one first")


@dataclass(frozen=True, slots=True)
class FaceQANResult:
    """Scores of N faces, and what they are computed from; all float32.

    Attributes:
        quality: (N,).
        similarities: (N, l, k), cosines of a face's embedding with those of its copies after each step.
        symmetry: (N,), cosine with the flipped face.
        embeddings: (N, D).
    """

    quality: Tensor
    similarities: Tensor
    symmetry: Tensor
    embeddings: Tensor


def faceqan(model: nn.Module, faces: Tensor, noise: Tensor, settings: FaceQANSettings | None = None) -> FaceQANResult:
    """Score a batch of faces (section III).

    Args:
        model: RGB (N, 3, 112, 112) in [0, 1] -> embeddings (N, D), frozen and in evaluation mode.
        faces: float32 RGB (N, 3, 112, 112) in [0, 1].
        noise: float32 (N, k, 3, 112, 112), uniform in [-epsilon, epsilon].
        settings: The published values by default.

    Returns:
        See `FaceQANResult`.
    """
    settings = settings or FaceQANSettings()
    low, high = settings.clip
    count, copies = noise.shape[:2]
    with torch.no_grad():
        embeddings, flipped = model(torch.cat([faces, faces.flip(-1)])).float().chunk(2)
    symmetry = F.cosine_similarity(embeddings, flipped)
    targets = embeddings.repeat_interleave(copies, 0)
    noisy = (faces[:, None] + noise).flatten(0, 1).clamp(low, high)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    recorded = []
    for iteration in range(settings.iterations):
        last = iteration == settings.iterations - 1
        noisy.requires_grad_(not last)
        with torch.set_grad_enabled(not last):
            similarity = F.cosine_similarity(targets, model(noisy).float())
        recorded.append(similarity.detach())
        if not last:  # no similarity is recorded after the last step, so it is left out
            (gradient,) = torch.autograd.grad(-similarity.sum(), noisy)
            noisy = (noisy.detach() + settings.epsilon * gradient.sign()).clamp(low, high)
    similarities = torch.stack(recorded, 1).view(count, copies, settings.iterations).transpose(1, 2)
    quality = combine(similarities, symmetry, settings.exponent)
    return FaceQANResult(quality, similarities, symmetry, embeddings)


def combine(similarities: Tensor, symmetry: Tensor, exponent: float) -> Tensor:
    """Compute `((1 + mean S) / 2 * clip(1 - std S, 0, 1) * symmetry) ^ p`, with the population's deviation.

    Args:
        similarities: (N, l, k).
        symmetry: (N,). Where p is not a whole number, the product keeps its sign.
        exponent: p.

    Returns:
        (N,) quality.
    """
    recorded = similarities.flatten(1)
    spread = recorded.std(dim=1, correction=0)
    base = (1 + recorded.mean(dim=1)) / 2 * (1 - spread).clamp(0, 1) * symmetry
    if exponent == int(exponent):
        return base ** int(exponent)
    return base.sign() * base.abs() ** exponent


class FaceQANLabeller:
    """FaceQAN over batches of crops. Each image has a seed of its own, so its label does not depend on its batch.

    Args:
        model: Face-recognition model.
        settings: The published values by default.
        seed: Seed of all noise.
        device: Where to compute.
        bf16: Run the network in bfloat16. None for doing so on a GPU.
        embed: Return embeddings, too. They are computed in float32 also with `bf16`, for other stages use them.
        compiled: Compile the network. Labels differ by rounding.
    """

    name = "faceqan"

    @property
    def batch_size(self) -> int:
        """Faces in a batch that suits the device."""
        return LARGEST if self.device.type == "cuda" else 16

    def __init__(
        self,
        model: RecognitionModel,
        settings: FaceQANSettings | None = None,
        seed: int = 0,
        device: torch.device | None = None,
        bf16: bool | None = None,
        embed: bool = True,
        compiled: bool = False,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.settings = settings or FaceQANSettings()
        self._bf16 = self.device.type == "cuda" if bf16 is None else bf16
        self.record: dict[str, Any] = {**asdict(self.settings), "seed": seed, "bf16": self._bf16}
        # Only where it is true: runs that do not compile go on from those of earlier versions.
        self.record |= {"weights": fingerprint(model), **({"compile": True} if compiled else {})}
        self._seed, self._embed = seed, embed
        # On a CPU autocast casts as it goes, which is as fast there, and keeps labels as they were.
        cast = self._bf16 and self.device.type == "cuda"
        self._autocast = self._bf16 and not cast
        make = _compiled if compiled else frozen_for_attack
        self._exact = Lazy(partial(frozen_for_attack, model, self.device))
        self._model = Lazy(partial(make, model, self.device, torch.bfloat16 if cast else torch.float32))
        if not cast and not compiled:
            self._model = self._exact
        self._batches = OnDevice(self._label, self.device, LARGEST)

    @classmethod
    def load(
        cls,
        settings: FaceQANSettings,
        model: str,
        weights: Path | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        seed: int = 0,
        bf16: bool | None = None,
        device: str = "cpu",
        embed: bool = True,
        colour: str | None = None,
        size: int | None = None,
        compiled: bool | None = None,
        expected_images: int = 0,
    ) -> "FaceQANLabeller":
        """Make a labeller with a face-recognition model by name, see `load_recognition_model`.

        `compiled` is None for what suits the number of expected images, see `worth_compiling`.

        Raises:
            InputError: The name is unknown, the weights are missing, or a module of a user's own is wrong.
            ModelError: The checkpoint does not fit.
        """
        network = load_recognition_model(model, weights, mean, std, True, colour, size)
        if compiled is None:
            compiled = worth_compiling(torch.device(device), expected_images, COMPILE_FROM)
        labeller = cls(network, settings, seed, torch.device(device), bf16, embed, compiled)
        labeller.record |= {"model": model, "mean": mean, "std": std}
        return labeller

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Label a batch.

        Args:
            faces: uint8 BGR (N, 112, 112, 3).
            keys: Name of each image, which seeds its noise.

        Returns:
            `faceqan` float32 (N,) and, where asked for, `embedding` float32 (N, D).
        """
        noise = self._batches.empty(len(faces), self.settings.copies, 3, *faces.shape[1:3])
        for row, key in zip(noise, keys, strict=True):
            self._draw(key, row.numpy())
        labels, *embeddings = self._batches(self._batches.pinned(rgb_images(faces)), noise)
        return {self.name: labels, **({"embedding": embeddings[0]} if embeddings else {})}

    def _label(self, images: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        inputs = images.float() / 255
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast), compile_errors():
            result = faceqan(self._model(), inputs, noise, self.settings)
        if not self._embed:
            return (result.quality,)
        return result.quality, self._embeddings(inputs) if self._bf16 else result.embeddings

    @torch.no_grad()
    def _embeddings(self, inputs: Tensor) -> Tensor:
        return self._exact()(inputs)

    def _noise(self, key: str, size: tuple[int, ...]) -> NDArray[np.float32]:
        noise = np.empty((self.settings.copies, 3, *size), np.float32)
        self._draw(key, noise)
        return noise

    def _draw(self, key: str, out: NDArray[np.float32]) -> None:
        """Fill an array with the noise of an image: uniform in [-epsilon, epsilon]."""
        np.random.default_rng([self._seed, zlib.crc32(key.encode())]).random(out=out, dtype=np.float32)
        out *= 2
        out -= 1
        out *= np.float32(self.settings.epsilon)


def _compiled(model: RecognitionModel, device: torch.device, dtype: torch.dtype) -> nn.Module:
    return CompiledForAttack(frozen_for_attack(model, device, dtype))


_PUBLISHED = FaceQANSettings()


def faceqan_labeller(
    model: RecognitionName = "mobilefacenet128",
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    colour: Colour = None,
    size: Size = None,
    k: Annotated[int, typer.Option(min=1, help="Adversarial copies of each face.")] = _PUBLISHED.copies,
    iterations: Annotated[
        int, typer.Option("--iterations", "-l", min=1, help="Steps of the attack.")
    ] = _PUBLISHED.iterations,
    epsilon: Annotated[float, typer.Option(help="Size of the noise, for pixels in [0, 1].")] = _PUBLISHED.epsilon,
    p: Annotated[float, typer.Option(help="Exponent of the score.")] = _PUBLISHED.exponent,
    clip_to_image: Annotated[bool, typer.Option(help="Clip noisy images to [0, 1], not to [-1, 1].")] = False,
    seed: Seed = 0,
    bf16: Annotated[bool | None, typer.Option(help="Run the network in bfloat16; by default on a GPU.")] = None,
    compile: Compile = None,
    device: str = "cpu",
    embed: bool = True,
    expected_images: int = 0,
) -> FaceQANLabeller:
    """Make a labeller of the options of `fiqa-train label faceqan`, see `FaceQANLabeller.load`."""
    settings = FaceQANSettings(epsilon, iterations, k, p, (0.0, 1.0) if clip_to_image else _PUBLISHED.clip)
    given = (model, weights, mean, std, seed, bf16, device, embed, colour, size, compile, expected_images)
    return FaceQANLabeller.load(settings, *given)

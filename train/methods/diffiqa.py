"""DifFIQA: face image quality from denoising diffusion.

Babnik, Peer and Štruc, "DifFIQA: Face Image Quality Assessment Using Denoising Diffusion Probabilistic Models",
IJCB 2023. The embedding of a good face hardly changes by a little noise, by the restoration from it, and by a flip.

The published code embeds a face again for each of its noisy copies. Here a face and its flip are embedded once.
"""

import copy
import logging
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from accelerate.utils.memory import should_reduce_batch_size
from numpy.typing import NDArray
from torch import Tensor, nn

from sdk.errors import InputError
from train.data.dataset import normalised, rgb_images
from train.device.batches import OnDevice
from train.device.compiling import compile_errors, worth_compiling
from train.labelling.parameters import Colour, Compile, Mean, RecognitionName, Seed, Size, Std, Weights
from train.lazy import Lazy
from train.methods.diffusion import TRAINED_STEPS, Diffusion, load_diffusion
from train.networks.attack import frozen_for_attack
from train.networks.recognition import RecognitionModel, fingerprint, load_recognition_model
from train.networks.unet import frozen_unet
from train.networks.variants import HALF

logger = logging.getLogger(__name__)

COMPILE_FROM = 3_000
"""Images for which a GPU compiles by default: a UNet of width 128 takes 45 s, and saves some 30 ms a face."""

PRECISIONS = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class DifFIQASettings:
    """Settings of DifFIQA. The defaults are the published values.

    Attributes:
        t: Step to which faces are noised, 1 to 99.
        repetitions: Noisy copies of each face and of its flip (n).
    """

    t: int = 5
    repetitions: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.t < TRAINED_STEPS or self.repetitions < 1:
            raise InputError(
                f"t={self.t}, repetitions={self.repetitions}: wanted t in 1 .. {TRAINED_STEPS - 1}, for the diffusion "
                "model is trained on these steps, and 1 repetition or more"
            )


@dataclass(frozen=True, slots=True)
class DifFIQAResult:
    """Scores of N faces, and what they are computed from; all float32.

    Attributes:
        quality: (N,), mean of the terms.
        terms: (5, N), mean cosine similarities of a face with its noisy copies, with these restored, with the flip's
            noisy copies, with these restored, and with the flip.
        embeddings: (N, D).
    """

    quality: Tensor
    terms: Tensor
    embeddings: Tensor


def diffiqa(
    restore: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], model: nn.Module, faces: Tensor, noise: Tensor
) -> DifFIQAResult:
    """Score a batch of faces (section III).

    Args:
        restore: Returns the noisy and the restored images of clean images and noise (M, t, 3, 112, 112), see
            `noised_and_restored`.
        model: RGB (N, 3, 112, 112) in [0, 1] -> embeddings (N, D), frozen and in evaluation mode.
        faces: float32 RGB (N, 3, 112, 112) in [-1, 1].
        noise: float32 (N, 2, n, t, 3, 112, 112), for the faces and for their flips. The first of the t is added to the
            images, the others are used in the restoration.

    Returns:
        See `DifFIQAResult`.
    """
    repetitions = noise.shape[2]
    both = torch.stack([faces, faces.flip(-1)], 1)
    copies = both[:, :, None].expand(-1, -1, repetitions, -1, -1, -1)
    noisy, restored = restore(copies.flatten(0, 2), noise.flatten(0, 2))
    shape = (len(faces), 2, repetitions, -1)
    embeddings, flipped = _embed(model, both.flatten(0, 1)).view(len(faces), 2, -1).unbind(1)
    of_noisy, of_restored = (
        F.cosine_similarity(embeddings[:, None, None], _embed(model, images).view(shape), -1).mean(-1)
        for images in (noisy, restored)
    )
    symmetry = F.cosine_similarity(embeddings, flipped)
    terms = torch.stack([of_noisy[:, 0], of_restored[:, 0], of_noisy[:, 1], of_restored[:, 1], symmetry])
    return DifFIQAResult(terms.mean(0), terms, embeddings)


def _embed(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model((images + 1) / 2).float()


@torch.no_grad()
def noised_and_restored(diffusion: Diffusion, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Noise images (M, 3, 112, 112) to the step t, and restore them.

    Args:
        diffusion: Trained model.
        images: float32 RGB (M, 3, 112, 112) in [-1, 1].
        noise: float32 (M, t, 3, 112, 112): the first of the t for the noisy images, the others for the restoration.

    Returns:
        Noisy and restored images, both (M, 3, 112, 112).
    """
    t = noise.shape[1]
    first, *others = noise.unbind(1)
    noisy = diffusion.q_sample(images, torch.full((len(images),), t, device=images.device), first)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    return noisy, diffusion.restore(noisy, t, others)


def _frozen(diffusion: Diffusion, device: torch.device, dtype: torch.dtype, compiled: bool) -> Diffusion:
    frozen = copy.deepcopy(diffusion).eval().requires_grad_(False)
    frozen.model = frozen_unet(frozen.model.to(device), dtype, compiled)
    frozen.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        frozen.model.compile(dynamic=False)
    return frozen


class DifFIQALabeller:
    """DifFIQA over batches of crops. Each image has a seed of its own, so its label does not depend on its batch.

    Args:
        diffusion: Trained model.
        model: Face-recognition model. It always runs in float32.
        settings: The published values by default.
        seed: Seed of all noise.
        device: Where to compute.
        precision: Of the diffusion model: `no` (float32), `bf16` or `fp16`; None for bf16 on a GPU, `no` elsewhere.
        images: Images that the UNet restores at once; halved whenever memory does not suffice. By default 8 on a CPU,
            where more are not faster, and 256 elsewhere.
        embed: Return embeddings, too.
        compiled: Compile the UNet. Labels differ by rounding.
    """

    name = "diffiqa"
    _halving = threading.Lock()

    def __init__(
        self,
        diffusion: Diffusion,
        model: RecognitionModel,
        settings: DifFIQASettings | None = None,
        seed: int = 0,
        device: torch.device | None = None,
        precision: str | None = None,
        images: int | None = None,
        embed: bool = True,
        compiled: bool = False,
    ) -> None:
        self.device = device or torch.device("cpu")
        on_gpu = self.device.type == "cuda"
        precision = precision or ("bf16" if on_gpu else "no")
        if precision not in PRECISIONS:
            raise InputError(f"precision is {precision!r}, wanted one of: {', '.join(PRECISIONS)}")
        self.settings = settings or DifFIQASettings()
        self.record: dict[str, Any] = {**asdict(self.settings), "seed": seed, "precision": precision}
        self.record |= {"weights": fingerprint(model), "diffusion": fingerprint(diffusion)}
        # Only where it is true: runs that do not compile go on from those of earlier versions.
        self.record |= {"compile": True} if compiled else {}
        self.images = images or (8 if self.device.type == "cpu" else 256)
        self._seed, self._embed, dtype = seed, embed, PRECISIONS[precision]
        # Elsewhere autocast casts as it goes, which is as fast there, and keeps labels as they were.
        self._autocast = torch.float32 if on_gpu else dtype
        self._diffusion = Lazy(partial(_frozen, diffusion, self.device, dtype if on_gpu else torch.float32, compiled))
        self._model = Lazy(partial(frozen_for_attack, model, self.device))
        self._batches = OnDevice(self._label, self.device, self.batch_size)

    @property
    def batch_size(self) -> int:
        """Faces whose copies the UNet restores at once: a batch of so many keeps it busy."""
        return max(1, self.images // (2 * self.settings.repetitions))

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Label a batch.

        Args:
            faces: uint8 BGR (N, 112, 112, 3).
            keys: Name of each image, which seeds its noise.

        Returns:
            `diffiqa` float32 (N,) and, where asked for, `embedding` float32 (N, D).
        """
        noise = self._batches.empty(len(faces), *self._shape, *faces.shape[1:3])
        for row, key in zip(noise, keys, strict=True):
            self._draw(key, row.numpy())
        labels, *embeddings = self._batches(self._batches.pinned(rgb_images(faces)), noise)
        return {self.name: labels, **({"embedding": embeddings[0]} if embeddings else {})}

    def _label(self, images: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        with compile_errors():
            result = diffiqa(self._restore, self._model(), normalised(images, HALF, HALF), noise)
        return (result.quality, result.embeddings) if self._embed else (result.quality,)

    def _restore(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return `noised_and_restored` of all images, computed in parts that fit into memory."""
        noisy, restored = torch.empty_like(images), torch.empty_like(images)
        start = 0
        while start < len(images):
            tried = self.images
            part = slice(start, start + tried)
            try:
                with torch.autocast(self.device.type, self._autocast, enabled=self._autocast != torch.float32):
                    noisy[part], restored[part] = noised_and_restored(self._diffusion(), images[part], noise[part])
            except RuntimeError as error:
                if tried == 1 or not should_reduce_batch_size(error):
                    raise
                with self._halving:  # other threads may have halved it meanwhile
                    self.images = min(self.images, tried // 2)
                logger.info("memory does not suffice: %d images at once from here on", self.images)
                continue
            start = part.stop
        return noisy, restored

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        return 2, self.settings.repetitions, self.settings.t, 3

    def _noise(self, key: str, size: tuple[int, ...]) -> NDArray[np.float32]:
        noise = np.empty((*self._shape, *size), np.float32)
        self._draw(key, noise)
        return noise

    def _draw(self, key: str, out: NDArray[np.float32]) -> None:
        """Fill an array with the noise of an image: normal, of deviation 1."""
        rng = np.random.default_rng([self._seed, zlib.crc32(key.encode())])
        rng.standard_normal(out=out, dtype=np.float32)


_PUBLISHED = DifFIQASettings()


def diffiqa_labeller(
    diffusion: Annotated[Path, typer.Option(help="Diffusion model: made by `fit diffiqa`, or the published one.")],
    model: RecognitionName = "mobilefacenet128",
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    colour: Colour = None,
    size: Size = None,
    t: Annotated[int, typer.Option("-t", "--t", help="Step that faces are noised to, 1 to 99.")] = _PUBLISHED.t,
    n: Annotated[
        int, typer.Option("-n", "--n", help="Noisy copies of each face and of its flip.")
    ] = _PUBLISHED.repetitions,
    seed: Seed = 0,
    precision: Annotated[
        str | None,
        typer.Option(help="Precision of the diffusion model: no, bf16 or fp16; by default bf16 on a GPU, else no."),
    ] = None,
    compile: Compile = None,
    device: str = "cpu",
    embed: bool = True,
    expected_images: int = 0,
) -> DifFIQALabeller:
    """Make a labeller of the options of `fiqa-train label diffiqa`.

    Raises:
        InputError: An option is wrong, or the FR model cannot be made.
        ModelError: A checkpoint does not fit.
    """
    settings = DifFIQASettings(t, n)
    networks = load_diffusion(diffusion), load_recognition_model(model, weights, mean, std, True, colour, size)
    place = torch.device(device)
    if compile is None:
        compile = worth_compiling(place, expected_images, COMPILE_FROM)
    labeller = DifFIQALabeller(*networks, settings, seed, place, precision, embed=embed, compiled=compile)
    labeller.record |= {"model": model, "mean": mean, "std": std}
    return labeller

"""Draw what a diffusion model makes of noised and of degraded faces: `python examples/draw_restored.py MODEL OUT.png`.

Makes the picture of docs/methods/diffiqa.md. Above: the face noised to a few steps, and restored from there as DifFIQA
does it, for the face and for its flip. Below: the face degraded as in training, and restored from there at once.
"""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from media.make_bad_copies import make_bad_copies
from numpy.typing import NDArray
from torch import Tensor

from train import degrade_face, load_diffusion, noised_and_restored

FONT = cv2.FONT_HERSHEY_SIMPLEX
STEPS = (1, 5, 10, 20, 40)


def main() -> None:
    """Restore, draw, write."""
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} MODEL OUT.png")
    diffusion = load_diffusion(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as folder:
        make_bad_copies(Path(folder))
        face = np.asarray(cv2.imread(str(Path(folder) / "good.png")), np.uint8)
    generator = torch.Generator().manual_seed(0)
    both = torch.stack([tensor(face), tensor(face).flip(-1)])
    columns = [[titled(title, both[side]) for side, title in enumerate(("the face", "its flip")) for _ in range(2)]]
    columns[0] += [titled("the face", both[0])] * 2
    for t in STEPS:
        noise = torch.randn((2, t, 3, 112, 112), generator=generator)
        noisy, restored = noised_and_restored(diffusion, both, noise)
        degraded = tensor(degrade_face(face, np.random.default_rng(t)))[None]
        with torch.no_grad():
            given = diffusion.mixture(both[:1], degraded, torch.tensor([t]), noise[:1, 0])
            back = diffusion.predict(given, torch.tensor([t]))
        images = {"noised": noisy[0], "restored": restored[0], "noised flip": noisy[1], "restored flip": restored[1]}
        images |= {"degraded": given[0], "restored at once": back[0]}
        columns.append([titled(f"{name}, t = {t}", image) for name, image in images.items()])
    cv2.imwrite(sys.argv[2], np.hstack([np.vstack(column) for column in columns]))


def tensor(face: NDArray[np.uint8]) -> Tensor:
    """uint8 BGR (112, 112, 3) -> float32 RGB (3, 112, 112) in [-1, 1]."""
    return torch.from_numpy(face[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 127.5 - 1)


def titled(title: str, image: Tensor) -> NDArray[np.uint8]:
    """float32 RGB (3, 112, 112) in [-1, 1] as a picture under its title."""
    pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()[::-1].transpose(1, 2, 0)
    framed = cv2.copyMakeBorder(np.ascontiguousarray(pixels), 16, 4, 12, 12, cv2.BORDER_CONSTANT, value=(255,) * 3)
    cv2.putText(framed, title, (4, 12), FONT, 0.36, (30, 30, 30), 1, cv2.LINE_AA)
    return np.asarray(framed, np.uint8)


if __name__ == "__main__":
    main()

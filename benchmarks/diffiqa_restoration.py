"""How well a diffusion model restores: mean square error by step, of the faces as given and as restored.

    python benchmarks/diffiqa_restoration.py runs/diffiqa-16/diffusion.safetensors faces/manifest.csv

Undamaged validation people's faces of a prepared manifest are degraded and noised as in training, each once.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from train.data.manifest import read_manifest
from train.methods.diffusion import load_diffusion
from train.methods.fit_diffiqa import PairDataset

STEPS = ((0, 9), (10, 32), (33, 65), (66, 99), (0, 99))


def main() -> None:
    """Print a row for each range of steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("diffusion", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--faces", type=int, default=96)
    options = parser.parse_args()
    manifest = read_manifest(options.manifest)
    kinds = zip(manifest.column("split"), manifest.column("degradation"), strict=True)
    rows = [row for row, (split, damage) in enumerate(kinds) if split == "validation" and not damage]
    data = PairDataset(manifest, rows[: options.faces], {})
    model = load_diffusion(options.diffusion).eval()
    errors = []
    for index in range(len(data)):
        item = data[(0, index)]
        clean, degraded = (item[name][None].float() / 127.5 - 1 for name in ("image", "degraded"))
        step = torch.tensor([item["step"]])
        with torch.inference_mode():
            given = model.mixture(clean, degraded, step, item["noise"][None])
            restored = model.predict(given, step).clamp(-1, 1)
        errors.append((item["step"], *(float((image - clean).square().mean()) for image in (given, restored))))
    table = np.array(errors)
    print("steps, faces, mean square error as given, as restored (images in [-1, 1])")
    for first, last in STEPS:
        chosen = table[(table[:, 0] >= first) & (table[:, 0] <= last)]
        print(f"{first} to {last}, {len(chosen)}, {chosen[:, 1].mean():.4f}, {chosen[:, 2].mean():.4f}")


if __name__ == "__main__":
    main()

"""DifFIQA labels per second: fiqa against the plain loop, one face at a time in float32, in one run.

    python benchmarks/diffiqa_labels.py [--diffusion diffusion.safetensors] [--width 16] [--faces 4] [--n 10]

The plain loop is written from the paper: one face, its n copies and those of its flip as a batch, one call of the FR
model for each of the six sets. Both use the same noise and all cores; the labels are compared. Speeds differ between
machines, so look at the ratios.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from train.methods.diffiqa import DifFIQALabeller, DifFIQASettings
from train.methods.diffusion import Diffusion, load_diffusion
from train.networks import create_network, get_variant, load_network
from train.networks.recognition import RecognitionModel, device_of

NETWORK = "mobilefacenet128"


@torch.no_grad()
def plain_loop(
    diffusion: Diffusion, model: RecognitionModel, faces: NDArray[np.uint8], labeller: DifFIQALabeller
) -> NDArray[np.float64]:
    """DifFIQA as one would write it down first."""
    t, n, device = labeller.settings.t, labeller.settings.repetitions, labeller.device
    scores = []
    for index, face in enumerate(faces):
        noise = torch.from_numpy(labeller._noise(str(index), face.shape[:2])).to(device)
        x = torch.from_numpy(face[..., ::-1].transpose(2, 0, 1).copy()).to(device).float()[None] / 127.5 - 1
        sets: list[Tensor] = []
        for side, image in enumerate((x, x.flip(-1))):
            repeated = image.repeat(n, 1, 1, 1)
            first, *others = noise[side].unbind(1)
            noisy = diffusion.q_sample(repeated, torch.full((n,), t, device=device), first)
            sets += [repeated, noisy, diffusion.restore(noisy, t, others)]
        clean, *compared = [model((images + 1) / 2) for images in sets]
        scores.append(float(sum(F.cosine_similarity(clean, other).mean() for other in compared)) / 5)
    return np.array(scores)


def batched(labeller: DifFIQALabeller, faces: NDArray[np.uint8], callers: int) -> NDArray[np.float32]:
    """fiqa: as many faces at once as its UNet takes, a caller a core of a CPU."""
    step = labeller.batch_size

    def label(start: int) -> NDArray[np.float32]:
        part = faces[start : start + step]
        return labeller(part, [str(start + index) for index in range(len(part))])["diffiqa"]

    with ThreadPoolExecutor(callers) as pool:
        return np.concatenate(list(pool.map(label, range(0, len(faces), step))))


def smooth_faces(count: int) -> NDArray[np.uint8]:
    """Images that are as smooth as faces are."""
    rough = np.random.default_rng(0).integers(0, 256, (count, 14, 14, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (112, 112), interpolation=cv2.INTER_CUBIC) for image in rough])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--diffusion", type=Path, help="diffusion model; random weights of --width without it")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--weights", type=Path, help="checkpoint of mobilefacenet128; random weights without it")
    parser.add_argument("--faces", type=int, default=4)
    parser.add_argument("--n", type=int, default=10, help="noisy copies of each face and of its flip")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device, variant = device_of(options.device), get_variant(NETWORK)
    torch.manual_seed(0)
    diffusion = load_diffusion(options.diffusion) if options.diffusion else Diffusion(options.width).eval()
    network = load_network(NETWORK, options.weights) if options.weights else create_network(NETWORK)
    model = RecognitionModel(network, variant.mean, variant.std).eval().requires_grad_(False)
    faces, settings = smooth_faces(options.faces), DifFIQASettings(repetitions=options.n)
    exact, fast = (
        DifFIQALabeller(diffusion, model, settings, device=device, precision=precision) for precision in ("no", "bf16")
    )
    diffusion, model = diffusion.to(device), model.to(device)
    cores = torch.get_num_threads()
    callers = cores if device.type == "cpu" else 2
    ways = {
        "plain loop, fp32": lambda: plain_loop(diffusion, model, faces, exact),
        "fiqa, fp32": lambda: batched(exact, faces, callers),
        "fiqa, bf16": lambda: batched(fast, faces, callers),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    labels: dict[str, NDArray[np.floating]] = {}
    for _ in range(options.rounds):
        for name, way in ways.items():
            torch.set_num_threads(cores if name.startswith("plain") else max(1, cores // callers))
            start = time.perf_counter()
            labels[name] = way()
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times["plain loop, fp32"])
    print(f"{options.faces} faces, n = {options.n}, t = {settings.t}, {cores} cores, {device}")
    print(f"diffusion: {options.diffusion or f'random, width {options.width}'}; FR: {options.weights or 'random'}")
    for name, taken in times.items():
        seconds = statistics.median(taken)
        difference = np.abs(labels[name] - labels["plain loop, fp32"]).max()
        speed = f"{options.faces / seconds:8.3f} labels/s  {base / seconds:5.2f}x"
        print(f"{name:18} {speed}  largest difference {difference:.1e}")


if __name__ == "__main__":
    main()

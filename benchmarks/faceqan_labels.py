"""FaceQAN labels per second: fiqa against the plain loop, one face at a time in float32, in one run.

    python benchmarks/faceqan_labels.py [--weights mobilefacenet128.safetensors] [--faces 8] [--k 10]

The plain loop is written from the paper: one face, its k copies as a batch, l steps. Both use all cores and the same
noise; the labels are compared. Speeds differ between machines, so look at the ratios.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from train.methods.faceqan import FaceQANLabeller, FaceQANSettings
from train.networks import create_network, get_variant, load_network
from train.networks.recognition import RecognitionModel

NETWORK = "mobilefacenet128"


def plain_loop(model: RecognitionModel, faces: NDArray[np.uint8], labeller: FaceQANLabeller) -> NDArray[np.float64]:
    """FaceQAN as one would write it down first."""
    device = labeller.device
    settings, scores = labeller.settings, []
    for index, face in enumerate(faces):
        x = torch.from_numpy(face[..., ::-1].transpose(2, 0, 1).copy()).to(device).float()[None] / 255
        noise = torch.from_numpy(labeller._noise(str(index), face.shape[:2])).to(device)
        with torch.no_grad():
            clean = model(x)
            symmetry = F.cosine_similarity(clean, model(x.flip(-1)))
        noisy, seen = (x + noise).clamp(-1, 1), []
        for _ in range(settings.iterations):
            noisy.requires_grad_(True)
            similarity = F.cosine_similarity(clean, model(noisy))
            seen.append(similarity.detach())
            (gradient,) = torch.autograd.grad((1 - similarity).mean(), noisy)
            noisy = (noisy.detach() + settings.epsilon * gradient.sign()).clamp(-1, 1)
        recorded = torch.stack(seen)
        spread = recorded.std(correction=0)
        scores.append(float(((1 + recorded.mean()) / 2 * (1 - spread).clamp(0, 1) * symmetry) ** 5))
    return np.array(scores)


def batched(labeller: FaceQANLabeller, faces: NDArray[np.uint8], batch: int, callers: int) -> NDArray[np.float32]:
    """fiqa: all faces of a batch at once, a caller a core."""
    starts = range(0, len(faces), batch)

    def label(start: int) -> NDArray[np.float32]:
        keys = [str(index) for index in range(start, min(start + batch, len(faces)))]
        return labeller(faces[start : start + batch], keys)["faceqan"]

    with ThreadPoolExecutor(callers) as pool:
        return np.concatenate(list(pool.map(label, starts)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="checkpoint of mobilefacenet128; random weights without it")
    parser.add_argument("--faces", type=int, default=16)
    parser.add_argument("--k", type=int, default=10, help="adversarial copies of each face")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    variant = get_variant(NETWORK)
    torch.manual_seed(0)
    network = load_network(NETWORK, options.weights) if options.weights else create_network(NETWORK)
    model = RecognitionModel(network, variant.mean, variant.std).eval().requires_grad_(False)
    faces = np.random.default_rng(0).integers(0, 256, (options.faces, 112, 112, 3), dtype=np.uint8)
    settings = FaceQANSettings(copies=options.k)
    exact, fast = (FaceQANLabeller(model, settings, bf16=bf16) for bf16 in (False, True))
    cores = torch.get_num_threads()
    batch = max(1, 16 // options.k)
    ways = {
        "plain loop, fp32": lambda: plain_loop(model, faces, exact),
        "fiqa, fp32": lambda: batched(exact, faces, batch, cores),
        "fiqa, bf16": lambda: batched(fast, faces, batch, cores),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    labels: dict[str, NDArray[np.floating]] = {}
    for _ in range(options.rounds):
        for name, way in ways.items():
            torch.set_num_threads(cores if name.startswith("plain") else 1)
            start = time.perf_counter()
            labels[name] = way()
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times["plain loop, fp32"])
    print(f"{options.faces} faces, k = {options.k}, l = 5, {cores} cores, weights: {options.weights or 'random'}")
    for name, taken in times.items():
        seconds = statistics.median(taken)
        difference = np.abs(labels[name] - labels["plain loop, fp32"]).max()
        speed = f"{options.faces / seconds:7.2f} labels/s  {base / seconds:5.2f}x"
        print(f"{name:18} {speed}  largest difference {difference:.1e}")


if __name__ == "__main__":
    main()

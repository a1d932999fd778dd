"""From a manifest to DifFIQA labels: models, device and threads chosen, run and resumed."""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from train.data.manifest import read_manifest
from train.methods.diffiqa import DifFIQALabeller, DifFIQASettings
from train.methods.diffusion import load_diffusion
from train.methods.labelling import label_manifest
from train.methods.recognition import device_of, load_recognition_model


@dataclass(frozen=True, slots=True)
class LabelDifFIQA:
    """What `fiqa-train label diffiqa` takes; see its help and `DifFIQASettings`."""

    settings: DifFIQASettings = field(default_factory=DifFIQASettings)
    model: str = "mobilefacenet128"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    seed: int = 0
    precision: str = "no"
    device: str = "auto"
    callers: int | None = None


def run_diffiqa(
    source: Path, out: Path, diffusion: Path, options: LabelDifFIQA, weights: Path | None, embeddings: Path | None
) -> list[str]:
    """Label a manifest with DifFIQA, see `train.methods.labelling.label_manifest`.

    Returns:
        The error of each row, empty where it was labelled.
    """
    manifest = read_manifest(source)
    network = load_recognition_model(options.model, weights, options.mean, options.std)
    device = device_of(options.device)
    callers = options.callers or (os.cpu_count() or 1 if device.type == "cpu" else 2)
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(max(1, threads // callers))
    model = load_diffusion(diffusion)
    labeller = DifFIQALabeller(model, network, options.settings, options.seed, device, options.precision)
    decides = {**asdict(options.settings), "model": options.model, "seed": options.seed}
    decides |= {"mean": options.mean, "std": options.std, "precision": options.precision}
    try:
        table = label_manifest(manifest, labeller, out, decides, labeller.faces, embeddings, callers)
    finally:
        torch.set_num_threads(threads)
    return table["error"].to_pylist()

"""From a manifest to FaceQAN labels: model, device and threads chosen, run and resumed."""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from train.data.manifest import read_manifest
from train.methods.faceqan import FaceQANLabeller, FaceQANSettings
from train.methods.labelling import label_manifest
from train.methods.recognition import device_of, load_recognition_model


@dataclass(frozen=True, slots=True)
class LabelFaceQAN:
    """What `fiqa-train label faceqan` takes; see its help and `FaceQANSettings`."""

    settings: FaceQANSettings = field(default_factory=FaceQANSettings)
    model: str = "mobilefacenet128"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    seed: int = 0
    bf16: bool = False
    batch: int = 16
    device: str = "auto"
    callers: int | None = None


def run_faceqan(
    source: Path, out: Path, options: LabelFaceQAN, weights: Path | None, embeddings: Path | None
) -> list[str]:
    """Label a manifest with FaceQAN, see `train.methods.labelling.label_manifest`.

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
    labeller = FaceQANLabeller(network, options.settings, options.seed, device, options.bf16)
    decides = {**asdict(options.settings), "model": options.model, "seed": options.seed, "bf16": options.bf16}
    decides |= {"mean": options.mean, "std": options.std}
    try:
        table = label_manifest(manifest, labeller, out, decides, options.batch, embeddings, callers)
    finally:
        torch.set_num_threads(threads)
    return table["error"].to_pylist()

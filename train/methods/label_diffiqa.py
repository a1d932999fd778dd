"""From a manifest to DifFIQA labels: models, device and threads chosen, run and resumed."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from train.data.manifest import read_manifest
from train.labelling.executors import open_engine
from train.labelling.runner import label_manifest
from train.methods.diffiqa import DifFIQALabeller, DifFIQASettings
from train.methods.diffusion import load_diffusion
from train.networks.recognition import fingerprint, load_recognition_model


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
    engine: str = "plain"


def run_diffiqa(
    source: Path, out: Path, diffusion: Path, options: LabelDifFIQA, weights: Path | None, embeddings: Path | None
) -> list[str]:
    """Label a manifest with DifFIQA, see `train.labelling.runner.label_manifest`.

    Returns:
        The error of each row, empty where it was labelled.
    """
    manifest = read_manifest(source)
    network = load_recognition_model(options.model, weights, options.mean, options.std)
    model = load_diffusion(diffusion)
    decides = {**asdict(options.settings), "model": options.model, "seed": options.seed}
    decides |= {"mean": options.mean, "std": options.std, "precision": options.precision}
    decides |= {"weights": fingerprint(network), "diffusion": fingerprint(model)}
    with open_engine(options.engine, options.callers, options.device) as engine:
        device = torch.device(engine.device)
        labeller = DifFIQALabeller(model, network, options.settings, options.seed, device, options.precision)
        table = label_manifest(manifest, labeller, out, decides, labeller.faces, embeddings, engine)
    return table["error"].to_pylist()

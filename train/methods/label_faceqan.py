"""From a manifest to FaceQAN labels: model, device and threads chosen, run and resumed."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from train.data.manifest import read_manifest
from train.labelling.executors import open_engine
from train.labelling.runner import label_manifest
from train.methods.faceqan import FaceQANLabeller, FaceQANSettings
from train.networks.recognition import fingerprint, load_recognition_model


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
    engine: str = "plain"


def run_faceqan(
    source: Path, out: Path, options: LabelFaceQAN, weights: Path | None, embeddings: Path | None
) -> list[str]:
    """Label a manifest with FaceQAN, see `train.labelling.runner.label_manifest`.

    Returns:
        The error of each row, empty where it was labelled.
    """
    manifest = read_manifest(source)
    network = load_recognition_model(options.model, weights, options.mean, options.std)
    decides = {**asdict(options.settings), "model": options.model, "seed": options.seed, "bf16": options.bf16}
    decides |= {"mean": options.mean, "std": options.std, "weights": fingerprint(network)}
    with open_engine(options.engine, options.callers, options.device) as engine:
        device = torch.device(engine.device)
        embed = embeddings is not None
        labeller = FaceQANLabeller(network, options.settings, options.seed, device, options.bf16, embed)
        table = label_manifest(manifest, labeller, out, decides, options.batch, embeddings, engine)
    return table["error"].to_pylist()

"""Label face images, train quality networks on the labels, and evaluate both.

from pathlib import Path

from train import Sharpness, label_manifest, read_manifest

label_manifest(read_manifest(Path("crops")), Sharpness(), Path("labels.csv"))
"""

from typing import TYPE_CHECKING

from sdk.public_names import import_when_used

if TYPE_CHECKING:
    from train.data.manifest import Manifest, read_manifest
    from train.degradations.bsrgan import degrade_face
    from train.degradations.graded import DEGRADATIONS, degrade
    from train.evaluation.curves import EvaluationSettings
    from train.evaluation.inputs import EmbeddingSource
    from train.evaluation.run import Methods, Protocol, evaluate, evaluate_video
    from train.evaluation.selection import Selection
    from train.labelling.embedder import embed_manifest
    from train.labelling.labeller import Labeller, TableLabeller
    from train.labelling.runner import label_manifest
    from train.methods.baselines import Sharpness
    from train.methods.diffiqa import noised_and_restored
    from train.methods.diffusion import Diffusion, load_diffusion
    from train.networks.checkpoints import load_network, save_network
    from train.networks.recognition import RecognitionModel, load_recognition_model
    from train.networks.variants import create_network
    from train.recipes import read_recipe

_MODULES = {
    "train.data.manifest": ("Manifest", "read_manifest"),
    "train.degradations.bsrgan": ("degrade_face",),
    "train.degradations.graded": ("DEGRADATIONS", "degrade"),
    "train.evaluation.curves": ("EvaluationSettings",),
    "train.evaluation.inputs": ("EmbeddingSource",),
    "train.evaluation.run": ("Methods", "Protocol", "evaluate", "evaluate_video"),
    "train.evaluation.selection": ("Selection",),
    "train.labelling.embedder": ("embed_manifest",),
    "train.labelling.labeller": ("Labeller", "TableLabeller"),
    "train.labelling.runner": ("label_manifest",),
    "train.methods.baselines": ("Sharpness",),
    "train.methods.diffiqa": ("noised_and_restored",),
    "train.methods.diffusion": ("Diffusion", "load_diffusion"),
    "train.networks.checkpoints": ("load_network", "save_network"),
    "train.networks.recognition": ("RecognitionModel", "load_recognition_model"),
    "train.networks.variants": ("create_network",),
    "train.recipes": ("read_recipe",),
}

__all__ = [
    "DEGRADATIONS",
    "Diffusion",
    "EmbeddingSource",
    "EvaluationSettings",
    "Labeller",
    "Manifest",
    "Methods",
    "Protocol",
    "RecognitionModel",
    "Selection",
    "Sharpness",
    "TableLabeller",
    "create_network",
    "degrade",
    "degrade_face",
    "embed_manifest",
    "evaluate",
    "evaluate_video",
    "label_manifest",
    "load_diffusion",
    "load_network",
    "load_recognition_model",
    "noised_and_restored",
    "read_manifest",
    "read_recipe",
    "save_network",
]

__getattr__ = import_when_used("train", _MODULES)  # most of them need torch


def __dir__() -> list[str]:
    return __all__

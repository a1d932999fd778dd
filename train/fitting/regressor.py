"""What a method that trains a network on labels is, and the recipe that names it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from train.data.dataset import FaceDataset
from train.data.label_targets import TargetSettings, label_column, make_targets
from train.data.labelled import LabelledFaces
from train.data.manifest import Manifest
from train.data.prepare import PrepareSettings, prepare_settings
from train.data.sources.source import Source
from train.fitting.settings import FitSettings
from train.fitting.supervised import LossFunction
from train.fitting.warm_up import WarmUpSettings
from train.recipes import Recipe, settings_from
from train.references import resolve
from train.regressors import REGRESSORS


@dataclass(frozen=True, slots=True)
class Objective:
    """What a method makes of labelled faces.

    Attributes:
        data: The faces to train and to validate on.
        loss: See `LossFunction`. Its batch has `image`, `label` and all of `targets`.
        targets: More arrays over the manifest's rows, by name.
        teacher: The frozen network to start from looks at the items' `aligned` faces in training: its embeddings are
            the batch's `teacher`.
    """

    data: LabelledFaces
    loss: LossFunction
    targets: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    teacher: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of a manifest to train on and to validate on.

    Attributes:
        manifest: All images.
        train: int64 (M,) rows.
        validation: int64 (K,) rows.
        targets: Arrays over the manifest's rows, by name.
    """

    manifest: Manifest
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    targets: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class FitFiles:
    """Files that a regressor is trained from.

    Attributes:
        labels: Labelled manifest, see `train.data.labelled.read_labelled`.
        backbone: Checkpoint of the face-recognition network to start from: the teacher.
        embeddings: `.npy` of the teacher's embeddings, a row a row of the manifest; AI-KD can do without.
        sources: Images and landmarks of labels that lie elsewhere, see `train.data.labelled.read_labelled`; AI-KD on
            prepared crops: what they were cut from, see `train.data.source_images.source_faces`.
    """

    labels: Path
    backbone: Path
    embeddings: Path | None = None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Regressor(ABC):
    """A method that trains a network on labels.

    A method is a frozen dataclass of this type. Its fields are the settings of its section in a recipe.

    Attributes:
        label: Column of the labels, or several by commas.
        validation: Fraction to validate on, taken evenly along the sorted labels; not used where the manifest has a
            column `split`.
    """

    label: str = "faceqan"
    validation: float = 0.1

    @property
    def weights_of_outputs(self) -> tuple[float, ...]:
        """Weight of each of the head's outputs in the score. One output is the score itself."""
        return (1.0,)

    def targets(self, data: LabelledFaces, settings: TargetSettings) -> NDArray[np.float32]:
        """Return what the outputs learn, (M,) or (M, outputs), for the rows of `data`; see `make_targets`.

        Args:
            data: The faces.
            settings: The recipe's section `targets`.

        Raises:
            InputError: A label is missing, or they teach nothing.
        """
        embeddings = None if settings.centre == "none" else data.embeddings
        other = label_column(data.manifest, settings.average)[data.rows] if settings.average else None
        return make_targets(data.labels, embeddings, data.identities, data.clean, settings, other)

    @abstractmethod
    def objective(self, data: LabelledFaces) -> Objective:
        """Return which of the faces are trained on, and the loss.

        Raises:
            InputError: The faces lack what the method needs.
        """

    def data_sets(self, split: Split, recipe: "RegressorRecipe", files: FitFiles) -> tuple[FaceDataset, FaceDataset]:
        """Return the faces to train on and to validate on: the crops as they are, those to train on flipped at random.

        Args:
            split: The rows.
            recipe: All settings.
            files: All files.
        """
        how, manifest, targets = recipe.training, split.manifest, split.targets
        return (
            FaceDataset(manifest, split.train, targets, how.flip, how.seed, how.cache),
            FaceDataset(manifest, split.validation, targets, cache=how.cache),
        )


@dataclass(frozen=True, slots=True)
class RegressorRecipe:
    """The sections of a recipe that the training of a regressor reads.

    Attributes:
        network: Name of the network, see `train.networks.VARIANTS`.
        name: Of the method's section.
        method: Its settings.
        targets: How labels become targets.
        warm_up: How the head is trained alone, first.
        training: How the network is trained.
        prepare: How crops were made.
    """

    network: str
    name: str
    method: Regressor
    targets: TargetSettings = field(default_factory=TargetSettings)
    warm_up: WarmUpSettings = field(default_factory=WarmUpSettings)
    training: FitSettings = field(default_factory=FitSettings)
    prepare: PrepareSettings = field(default_factory=PrepareSettings)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "RegressorRecipe":
        """Read the sections `network`, that of the method, `targets`, `warm_up`, `training` and `prepare`.

        The method is one of `train.regressors.REGRESSORS`, or another one's `module:class`, which is imported.

        Raises:
            InputError: There is no network, not one method, or a section has an unknown setting.
        """
        if "network" not in recipe:
            raise InputError("the recipe has no 'network', wanted the name of one, such as ediffiqa-t")
        names = [name for name in recipe if name in REGRESSORS or ":" in name]
        if len(names) != 1:
            found = " and ".join(names) or "none"
            wanted = ", ".join([*REGRESSORS, "or module:class of your own"])
            raise InputError(f"the recipe has the sections of {found}, wanted one of: {wanted}")
        return cls(
            recipe["network"],
            names[0],
            settings_from(_regressor(names[0]), recipe[names[0]]),
            settings_from(TargetSettings, recipe.get("targets")),
            settings_from(WarmUpSettings, recipe.get("warm_up")),
            settings_from(FitSettings, recipe.get("training")),
            prepare_settings(recipe.get("prepare")),
        )


def _regressor(name: str) -> type[Regressor]:
    place = REGRESSORS[name][0] if name in REGRESSORS else name
    found: Any = resolve(place)
    if not isinstance(found, type) or not issubclass(found, Regressor):
        raise InputError(f"{name} is no subclass of train.fitting.regressor.Regressor; see CONTRIBUTING.md")
    return found

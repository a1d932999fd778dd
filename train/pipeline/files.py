"""The files of a recipe's run."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of what a recipe's stages make, in one folder."""

    folder: Path

    @property
    def crops(self) -> Path:
        """Manifest of the crops, see `train.data.prepare.prepare`."""
        return self.folder / "faces" / "manifest.csv"

    @property
    def labels(self) -> Path:
        """Labelled manifest; it is beside the crops, because its paths are relative."""
        return self.folder / "faces" / "labels.parquet"

    @property
    def scores(self) -> Path:
        """The rows of `labels` that are evaluated, with a column a method."""
        return self.folder / "faces" / "scores.parquet"

    @property
    def scores_record(self) -> Path:
        """The splits and peers that `scores` was made for."""
        return self.scores.with_suffix(".json")

    @property
    def scores_embeddings(self) -> Path:
        """Embeddings of the rows of `scores`."""
        return self.folder / "scores-embeddings.npy"

    @property
    def embeddings(self) -> Path:
        """Embeddings of the rows of `labels`."""
        return self.folder / "embeddings.npy"

    @property
    def weights(self) -> Path:
        """Weights of the network that is trained."""
        return self.folder / "weights.safetensors"

"""Labellers: what computes labels from a batch of faces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdk.errors import FiqaError, InputError
from train.data.manifest import Manifest

DONE = pa.schema([("row", pa.int64()), ("value", pa.float64()), ("error", pa.string()), ("embedding", pa.binary())])
"""A finished row: its number, its label, its error (empty where it has a label), its float32 embedding as bytes."""


class Labeller(Protocol):
    """Labels a batch of faces.

    A labeller is picklable, so that it works in other processes and on other machines. It keeps what cannot be pickled
    in a `train.lazy.Lazy`.

    Attributes:
        name: Column of the labels.
        record: Optional. What decides the labels, as plain values: a run that was stopped goes on only where it is the
            same. By default the options that the labeller was made with.
        batch_size: Optional. Faces in a batch that suit it.
        one_caller: Optional. True where only one thread may call it at a time, or where one call uses all cores.
    """

    name: str

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Label a batch.

        Args:
            faces: uint8 BGR crops (N, 112, 112, 3).
            keys: Path of each image; the seed of whatever is random about it.

        Returns:
            Labels (N,) under `name`, and embeddings (N, D) under `embedding` where the labeller has them. A face for
            which either is NaN or infinite becomes a row with an error.
        """


class TableLabeller:
    """Runs a labeller on rows of a manifest: `row`, `path` and perhaps `landmarks` -> rows as in `DONE`.

    It is picklable. `ray.data.Dataset.map_batches` takes it as it is.

    Args:
        labeller: See `Labeller`.
        root: Folder that the paths are relative to.
    """

    def __init__(self, labeller: Labeller, root: Path) -> None:
        self._labeller, self._root = labeller, root

    def __call__(self, batch: pa.Table) -> pa.Table:
        manifest = Manifest(batch, self._root)
        faces, good = [], []
        errors = [""] * len(batch)
        for index in range(len(batch)):
            try:
                faces.append(manifest.load_face(index))
                good.append(index)
            except FiqaError as error:
                errors[index] = str(error)
        values: list[float | None] = [None] * len(batch)
        embeddings: list[bytes | None] = [None] * len(batch)
        if good:
            paths = [manifest.paths[index] for index in good]
            labels, vectors = self._label(np.stack(faces), paths)
            for place, index in enumerate(good):
                vector = None if vectors is None else vectors[place]
                if np.isfinite(labels[place]) and (vector is None or np.isfinite(vector).all()):
                    values[index] = float(labels[place])
                    embeddings[index] = None if vector is None else vector.tobytes()
                else:
                    errors[index] = f"{self._root / paths[place]}: the network gave NaN or infinity, wanted numbers"
        return pa.table([batch["row"], values, errors, embeddings], schema=DONE)

    def _label(
        self, faces: NDArray[np.uint8], paths: list[str]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
        """Return labels (N,) and embeddings (N, D), checked, for the labeller may be a user's own."""
        name, result = self._labeller.name, self._labeller(faces, paths)
        if not isinstance(result, dict) or name not in result:
            raise InputError(f"the labeller {name!r} gave no {name!r}, wanted a dict with labels (N,) under that name")
        labels = np.asarray(result[name], np.float64)
        if labels.shape != (len(faces),):
            raise InputError(f"the labeller {name!r} gave labels {labels.shape}, wanted ({len(faces)},): one a face")
        if "embedding" not in result:
            return labels, None
        vectors = np.asarray(result["embedding"], np.float32)
        if vectors.ndim != 2 or len(vectors) != len(faces):
            raise InputError(f"the labeller {name!r} gave embeddings {vectors.shape}, wanted ({len(faces)}, D)")
        return labels, vectors

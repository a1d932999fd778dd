"""Inputs of an evaluation, embeddings and quality scores: read from files, or made by models."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdk.errors import InputError, ModelError
from sdk.files import read_file, write_errors, write_json
from train.data.embeddings import is_named, open_embeddings
from train.data.manifest import Manifest
from train.evaluation.curves import Scores
from train.labelling.runner import label_manifest
from train.labelling.sdk_model import SDKModel
from train.run_state import RunRecord, digest, read_record

logger = logging.getLogger(__name__)

Vectors = NDArray[np.floating[Any]]


def is_embeddings(path: Path) -> bool:
    """Tell whether a path is that of a file of embeddings."""
    return path.suffix.lower() == ".npy" or is_named(path)


@dataclass(frozen=True, slots=True)
class EmbeddingSource:
    """Source of the embeddings that decide which comparisons match.

    Attributes:
        source: File of embeddings, see `train.data.embeddings.open_embeddings`. Or the name of a face-recognition
            model, see `train.networks.recognition.load_recognition_model`.
        weights: Checkpoint of that model, where it is one of our networks.
        name: Name of the judge in results; by default that of the file or of the model.
        given: What is known of the model's input: `mean`, `std`, `colour`, `size`, see there.
    """

    source: str
    weights: Path | None = None
    name: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_model(self) -> bool:
        """True where the source is a model, False where it is a file of embeddings."""
        return not is_embeddings(Path(self.source))

    def read(self, manifest: Manifest, rows: NDArray[np.int64], out: Path) -> Vectors:
        """Read the embeddings (n, D) of some rows, or make them and keep them in the folder `out` for the next time.

        Raises:
            InputError: Images have no embedding; says how many, and names the first.
        """
        part = manifest.select(rows)
        path = Path(self.source)
        if self.is_model:
            vectors = _embed(self, part, out)
        elif is_named(path):  # there is no need to read those of other rows
            vectors = open_embeddings(path, part, manifest.root)
        else:
            vectors = open_embeddings(path, manifest, manifest.root)[rows]
        # A comparison with an infinite embedding means nothing, so such an embedding counts as missing.
        _check_complete(np.asarray(~np.isfinite(vectors).all(axis=1)), part, f"no embedding in {self.source}")
        return vectors


def method_scores(manifest: Manifest, columns: Sequence[str], models: Sequence[str], out: Path) -> Scores:
    """Return the scores (N,) of columns of a manifest, then those of quality models.

    Args:
        manifest: Images.
        columns: Names of columns.
        models: Quality models of the SDK, names or ONNX files. They score the images; `out/scores.parquet` keeps the
            scores.
        out: Folder.

    Raises:
        InputError: There is no method, a column is missing or is text, or images have no score.
    """
    scores = {column: _numbers(manifest, column) for column in columns}
    if models:
        absolute = [str((manifest.root / path).resolve()) for path in manifest.paths]
        index = manifest.table.column_names.index("path")
        scored = Manifest(manifest.table.set_column(index, "path", pa.array(absolute)), manifest.root)
        for name in models:
            model = SDKModel(name)
            table = label_manifest(scored, model, out / "scores.parquet", {"model": name}, 32)
            scored = Manifest(table, out)
            scores[model.name] = _numbers(scored, model.name)
    if not scores:
        raise InputError("no method to evaluate; name columns with --methods, or quality models with --models")
    return scores


def _numbers(manifest: Manifest, column: str) -> NDArray[np.float64]:
    values = manifest.numbers(column)
    _check_complete(np.isnan(values), manifest, f"no {column}")
    return values


def _check_complete(missing: NDArray[np.bool_], manifest: Manifest, what: str) -> None:
    if missing.any():
        first = manifest.paths[int(np.argmax(missing))]
        raise InputError(
            f"{missing.sum()} of {len(missing)} images have {what}, first {first!r}; add it, or leave these rows out"
        )


def _embed(source: EmbeddingSource, manifest: Manifest, out: Path) -> Vectors:
    from train.labelling.embedder import embed_manifest
    from train.networks.recognition import is_file, load_recognition_model

    model = source.source
    network = load_recognition_model(model, source.weights, gradients=False, **source.given)
    file = Path(model) if is_file(model) else source.weights
    inputs = {"images": digest(["\n".join(str((manifest.root / name).resolve()) for name in manifest.paths)])}
    if file is not None:
        inputs["weights"] = digest([read_file(file, ModelError, "give a .safetensors, .pth, .onnx, .pt or .pt2 file")])
    record, vectors, kept = (
        RunRecord({"model": model, **source.given}, inputs),
        out / "embeddings.npy",
        out / "embeddings.json",
    )
    if kept.exists():
        if not record.difference(read_record(kept)):
            logger.info("%s has the embeddings already", vectors)
            return np.array(open_embeddings(vectors, manifest, manifest.root))
        with write_errors(vectors):
            kept.unlink()
            vectors.unlink(missing_ok=True)
    found = np.array(embed_manifest(manifest, network, vectors))  # a copy in memory, for the file may be replaced
    write_json(kept, record.as_dict())
    return found

"""Measure what an export changes in use: when the worst images are discarded before faces are compared."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ModelError
from sdk.images.decoding import load_image
from sdk.scorer import QualityScorer

FMR = 1e-3
RATES = (0.2, 0.3)


@dataclass(frozen=True, slots=True)
class Change:
    """pAUC of the error-versus-discard curve at `FMR`, of the source and of the file. Lower is better; 1 is random.

    Attributes:
        images: Number of images.
        comparisons: Number of mated comparisons.
        errors: Number of mated comparisons that fail.
        before: pAUC of the source, by discard rate: `pAUC@0.2` ...
        after: pAUC of the file.
    """

    images: int
    comparisons: int
    errors: int
    before: dict[str, float]
    after: dict[str, float]


def change_of_pauc(
    file: Path, reference: Callable[[NDArray[np.uint8]], NDArray[np.float32]], manifest: Path, judge: str
) -> Change:
    """Compare the pAUC of a file with its source's.

    Args:
        file: The exported file; this machine must run it.
        reference: Returns the source's scores of uint8 BGR faces (N, 112, 112, 3).
        manifest: Manifest of aligned crops, or folder with one sub-folder for each person.
        judge: Face-recognition embeddings that compare the crops, see `train.evaluation.inputs.EmbeddingSource`.

    Raises:
        ModelError: The extra `train` is not installed.
        InputError: Images have no embedding, or there are too few comparisons.
    """
    try:
        from sdk.decision.comparisons import mated_pairs, non_mated_pairs
        from sdk.decision.edc import edc, pair_quality, threshold_at_fmr
        from sdk.decision.vectors import cosines
        from train.data.manifest import read_manifest
        from train.evaluation.inputs import EmbeddingSource
        from train.evaluation.sets import rows_without_errors
    except ModuleNotFoundError as error:
        raise ModelError(f"{error.name} is not installed, --evaluate needs it: pip install 'fiqa[train]'") from error
    images = read_manifest(manifest)
    rows = np.array(rows_without_errors(images), np.int64)
    readable = images.select(rows)
    crops = np.stack([load_image(readable.root / path) for path in readable.paths])
    with TemporaryDirectory() as folder:
        vectors: NDArray[Any] = np.asarray(EmbeddingSource(judge).read(images, rows, Path(folder)))
    mated, non_mated = mated_pairs(readable.identities), non_mated_pairs(readable.identities)
    errors = cosines(mated, vectors) <= threshold_at_fmr(cosines(non_mated, vectors), FMR)
    with QualityScorer(file, trust=True) as scorer:
        scores = {"before": reference(crops), "after": scorer.score_batch(crops)}
    curves = {name: edc(pair_quality(values, mated), errors) for name, values in scores.items()}
    pauc = {name: {f"pAUC@{rate}": curve.pauc(rate) for rate in RATES} for name, curve in curves.items()}
    return Change(len(crops), len(mated), int(errors.sum()), pauc["before"], pauc["after"])

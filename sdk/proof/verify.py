"""Prove that a model file scores as its source does: differences, rank correlation, tolerances of each precision."""

import dataclasses
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError, ModelError
from sdk.files.arrays import Wanted, read_npz
from sdk.images.decoding import load_image
from sdk.images.folders import images_below
from sdk.models.card import ModelCard
from sdk.models.formats import PRECISIONS, Tolerance
from sdk.models.loading import card_path, load_model, write_card_beside
from sdk.scorer import QualityScorer

logger = logging.getLogger(__name__)

Faces = NDArray[np.uint8]
Scores = NDArray[np.float32]

PROOF_FILE = "proof.npz"
"""Name of the proof in the folder of an export. It holds `faces`, uint8 BGR (N, 112, 112, 3); `scores`, float32 (N,),
which the source of the export gives them; and `source`, the SHA-256 of that source, which the cards hold, too."""

FEWEST, MOST = 8, 512
"""Least and most faces of a proof; of more faces, some are taken in equal steps."""


TOLERANCES: Mapping[str, Tolerance] = MappingProxyType(
    {name: precision.tolerance for name, precision in PRECISIONS.items()}
)
"""Tolerance of each precision."""

USUAL = 2.0
"""Size of usual scores, for which the tolerances are made. The length of an embedding, say, has other sizes."""

_MOST_BYTES = MOST * (112 * 112 * 3 + 8) + 1024


@dataclass(frozen=True, slots=True)
class Agreement:
    """Comparison of two sets of scores of the same faces.

    Attributes:
        count: Faces.
        largest: Largest absolute difference.
        mean: Mean absolute difference.
        shift: Mean of the first minus mean of the second.
        spearman: Rank correlation in [-1, 1].
        finite: Whether all scores are numbers.
    """

    count: int
    largest: float
    mean: float
    shift: float
    spearman: float
    finite: bool


@dataclass(frozen=True, slots=True)
class Proof:
    """Result of `prove`.

    Attributes:
        card: Card of the file, before the proof.
        device: Device that the file ran on.
        precision: Precision that it was computed in.
        reference: File that the reference scores came from.
        agreement: How the scores compare.
        failures: Why the file is not proven; empty where it is.
    """

    card: ModelCard
    device: str
    precision: str
    reference: str
    agreement: Agreement
    failures: tuple[str, ...]


def compare_scores(scores: Scores, reference: Scores) -> Agreement:
    """Compare scores with those of the source. Differences of scores beyond `USUAL` are shares of the largest.

    Raises:
        InputError: There are fewer than two scores, or not as many of one as of the other.
    """
    if scores.shape != reference.shape or scores.ndim != 1 or len(scores) < 2:
        raise InputError(f"scores are {scores.shape} and {reference.shape}, wanted (N,) twice and at least two faces")
    first, second = scores.astype(np.float64), reference.astype(np.float64)
    finite = bool(np.isfinite(first).all() and np.isfinite(second).all())
    if not finite:
        return Agreement(len(first), np.inf, np.inf, np.inf, -1.0, False)
    scale = max(1.0, float(np.abs(second).max()) / USUAL)
    first, second = first / scale, second / scale
    apart = np.abs(first - second)
    return Agreement(
        len(first),
        float(apart.max()),
        float(apart.mean()),
        float(first.mean() - second.mean()),
        spearman(first, second),
        True,
    )


def find_failures(agreement: Agreement, precision: str) -> tuple[str, ...]:
    """Return in words what is beyond the tolerance of a precision; empty where nothing is.

    Raises:
        InputError: The precision is unknown.
    """
    if precision not in TOLERANCES:
        raise InputError(f"unknown precision {precision!r}, wanted one of: {', '.join(TOLERANCES)}")
    if not agreement.finite:
        return ("some scores are not finite",)
    limit, found = TOLERANCES[precision], []
    if limit.largest is not None and agreement.largest > limit.largest:
        found.append(f"largest difference {agreement.largest:.2e}, allowed for {precision}: {limit.largest:g}")
    if limit.shift is not None and abs(agreement.shift) > limit.shift:
        found.append(f"mean shift {agreement.shift:+.4f}, allowed for {precision}: {limit.shift:g}")
    if limit.spearman is not None and agreement.spearman < limit.spearman:
        found.append(f"Spearman {agreement.spearman:.4f}, wanted for {precision}: at least {limit.spearman:g}")
    return tuple(found)


def spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return Spearman's rank correlation; equal values share the mean of their ranks. 0 where all of one are equal."""
    one, other = (ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second)))
    scale = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / scale if scale else 0.0


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    _, groups, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[groups]


def prove(
    file: str | PathLike[str],
    against: str | PathLike[str] | None = None,
    faces: Path | None = None,
    *,
    device: str = "auto",
    precision: str | None = None,
    trust: bool = False,
) -> Proof:
    """Run a model file on this device, and compare its scores with those of its source.

    Args:
        file: The model file, or a name in the catalogue.
        against: Source of the file, an fp32 .onnx file, which runs on the CPU. None for the scores in `proof.npz`
            beside the file, or else for the fp32 ONNX file of the same name there.
        faces: Folder of aligned 112 x 112 crops; None for those in `proof.npz`.
        device: See `QualityScorer`.
        precision: See `QualityScorer`.
        trust: See `QualityScorer`.

    Raises:
        InputError: There is no reference, or there are too few faces.
        ModelError: A file cannot be loaded.
        DeviceError: The device is not there.
    """
    with QualityScorer(file, device, precision=precision, trust=trust) as scorer:
        folder = Path(file).parent
        crops, expected, name = None, None, PROOF_FILE
        if os.path.isfile(folder / PROOF_FILE) and (faces is None or against is None):
            crops, expected, name = load_proof(folder, scorer.card)
        if faces is not None:
            crops, expected = read_faces(faces), None
        if crops is None:
            raise InputError(f"{file}: no faces to compare with; give --faces, a folder of aligned 112 x 112 crops")
        if against is not None or expected is None:
            source = against if against is not None else find_source(Path(file))
            with QualityScorer(source, "cpu") as other:
                if other.precision != "fp32":
                    raise InputError(f"{source} is {other.precision}, wanted fp32 to compare with; give --against")
                expected, name = other.score_batch(crops), str(source)
        agreement = compare_scores(scorer.score_batch(crops), expected)
        failures = find_failures(agreement, scorer.precision)
        return Proof(scorer.card, scorer.device, scorer.precision, name, agreement, failures)


def record_proof(file: Path, proof: Proof) -> Path | None:
    """Write a proof into the card beside a file that is not proven yet; returns the path of the card, if written.

    Raises:
        InputError: The card cannot be written.
        OutputError: The disk is full.
    """
    if proof.failures or proof.card.proven or proof.card.format == "onnx" or not os.path.isfile(card_path(file)):
        return None
    if proof.precision != proof.card.precision:  # bf16 has a wider tolerance than the file's own fp32
        return None
    found = proof.agreement
    values = {"": found.largest, "_mean": found.mean, "_shift": found.shift, "_spearman": found.spearman}
    measured = {f"{proof.device}{key}": value for key, value in values.items()}
    card = dataclasses.replace(proof.card, proven=True, verification={**proof.card.verification, **measured})
    return write_card_beside(file, card)


def load_proof(folder: Path, card: ModelCard) -> tuple[Faces, Scores, str]:
    """Read the `proof.npz` of a folder: faces, scores of the source, and path of the proof.

    Args:
        folder: Folder of the proof.
        card: Card of the file that is to be proven.

    Raises:
        InputError: The proof does not hold what it should, or belongs to another source than the card.
    """
    path, advice = folder / PROOF_FILE, "export the model again, or give --against"
    wanted: dict[str, Wanted] = {"faces": ("u", (None, 112, 112, 3)), "scores": ("f", (None,)), "source": ("U", ())}
    found = read_npz(path, wanted, _MOST_BYTES, advice)
    faces, scores, source = found["faces"], found["scores"], str(found["source"])
    if faces.dtype != np.uint8 or scores.shape != faces.shape[:1] or not 2 <= len(faces) <= MOST:
        raise InputError(
            f"{path} holds faces {faces.dtype} {faces.shape} and scores {scores.shape}, wanted uint8 and from 2 to "
            f"{MOST} of each; {advice}"
        )
    if source != card.source_sha256:
        raise InputError(
            f"{path} is of a source with SHA-256 {ascii(source[:12])[1:-1]}..., the file of one with "
            f"{card.source_sha256[:12]}...: give --against and --faces, or export into a folder of its own"
        )
    with np.errstate(over="ignore"):  # beyond float32 is infinity, which is no score
        return faces, scores.astype(np.float32), str(path)


def proof_source(folder: Path) -> str | None:
    """Return the SHA-256 of the source that the `proof.npz` of a folder belongs to; None where there is no proof.

    Raises:
        InputError: The proof cannot be read.
    """
    path = folder / PROOF_FILE
    if not os.path.lexists(path):
        return None
    return str(read_npz(path, {"source": ("U", ())}, _MOST_BYTES, "give --out another folder")["source"])


def read_faces(folder: Path) -> Faces:
    """Read aligned crops of a folder, at most `MOST`, in equal steps over the sorted names: uint8 (N, 112, 112, 3).

    Raises:
        InputError: There are fewer than `FEWEST` crops.
        ImageError: A file cannot be read.
    """
    paths = images_below(folder)
    spread = np.linspace(0, len(paths) - 1, min(len(paths), MOST)).round().astype(int)
    crops = []
    for path in (paths[index] for index in spread):
        crop = load_image(path)
        if crop.shape != (112, 112, 3):
            raise InputError(f"{path} is {crop.shape}, wanted aligned crops of 112 x 112; see `sdk.align`")
        crops.append(crop)
    if len(crops) < FEWEST:
        raise InputError(f"{folder} holds {len(crops)} faces, wanted at least {FEWEST} to compare with")
    return np.stack(crops)


def find_source(file: Path) -> Path:
    """Find the fp32 ONNX file of the same name beside a file.

    Raises:
        InputError: There is none.
    """
    bare = re.sub(r"([-_.](fp32|fp16|bf16|int8|b\d+|sm\d+|rtx|trt|openvino))+$", "", file.stem.replace("+", "-"))
    for name in (f"{bare}.onnx", f"{bare}-fp32.onnx", f"{bare}_fp32.onnx", f"{bare}.fp32.onnx"):
        path = file.with_name(name)
        if path != file and os.path.isfile(path):
            try:
                if load_model(path).card.precision == "fp32":
                    return path
            except ModelError as error:
                logger.info("no source: %s", error)
    raise InputError(
        f"{file}: no {PROOF_FILE} and no fp32 ONNX file of that name beside it; give --against SOURCE.onnx"
    )

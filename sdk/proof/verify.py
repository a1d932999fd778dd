"""Does a file score as its source does? Differences, rank correlation, and what each precision may differ."""

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
"""In the folder of an export: `faces` uint8 (N, 112, 112, 3) BGR, `scores` float32 (N,) of the export's source, and
`source`, the SHA-256 of that, as it stands on the cards of the folder's files."""

FEWEST, MOST = 8, 512
"""How many faces a proof takes; of more, evenly spread ones."""


TOLERANCES: Mapping[str, Tolerance] = MappingProxyType(
    {name: precision.tolerance for name, precision in PRECISIONS.items()}
)
"""By precision."""

_MOST_BYTES = MOST * (112 * 112 * 3 + 8) + 1024


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two sets of scores of the same faces compare.

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
    """What `prove` found.

    Attributes:
        card: The file's card, as it was.
        device: Where it ran.
        precision: What it was computed in.
        reference: Where the reference scores came from.
        agreement: How the scores compare.
        failures: Why it is no proof; empty where it is one.
    """

    card: ModelCard
    device: str
    precision: str
    reference: str
    agreement: Agreement
    failures: tuple[str, ...]


def compare_scores(scores: Scores, reference: Scores) -> Agreement:
    """Compare scores with those of their source.

    Raises:
        InputError: There are fewer than two faces, or not as many of one as of the other.
    """
    if scores.shape != reference.shape or scores.ndim != 1 or len(scores) < 2:
        raise InputError(f"scores are {scores.shape} and {reference.shape}, wanted (N,) twice and at least two faces")
    first, second = scores.astype(np.float64), reference.astype(np.float64)
    finite = bool(np.isfinite(first).all() and np.isfinite(second).all())
    if not finite:
        return Agreement(len(first), np.inf, np.inf, np.inf, -1.0, False)
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
    """What of an agreement is beyond the tolerance of a precision, in words; empty where nothing is.

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
    """Spearman's rank correlation; equal values share the mean of their ranks. 0 where one side has one value only."""
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
    """Run a file in its runtime on this device and compare it with its source.

    Args:
        file: The model file, or a name in the catalogue.
        against: Its source in fp32, run by onnxruntime on the CPU. Without it the reference is `proof.npz` beside the
            file, else the fp32 ONNX file of the same name there.
        faces: Folder of aligned 112 x 112 crops; without it those in `proof.npz`.
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
    """Write a proof that holds into the card beside a file that had none yet; returns the card's path if it was.

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
    """Faces, the source's scores, and the path of a folder's `proof.npz`.

    Args:
        folder: Where it is.
        card: Of the file that is to be proven.

    Raises:
        InputError: The file is not what `PROOF_FILE` says, or is of another source than the card.
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
    """SHA-256 of the source that a folder's `proof.npz` is of; None where there is no proof.

    Raises:
        InputError: The file is no proof.
    """
    path = folder / PROOF_FILE
    if not os.path.lexists(path):
        return None
    return str(read_npz(path, {"source": ("U", ())}, _MOST_BYTES, "give --out another folder")["source"])


def read_faces(folder: Path) -> Faces:
    """Aligned crops of a folder, at most `MOST`, evenly spread over the sorted names: uint8 (N, 112, 112, 3).

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
    """The fp32 ONNX file of the same name beside a file.

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

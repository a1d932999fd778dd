"""Targets that a network learns: labels, improved by the class centre and put on a scale.

FaceQAN alone overrates faces that are blurred, small and noisy at once: such an embedding has collapsed to a stable
point. Its distance from the centre of the person's clean images tells them apart (see docs/fiqa-nano.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.decision.vectors import unit
from sdk.errors import InputError
from train.data.embeddings import class_sums
from train.data.manifest import Manifest

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """How labels become targets.

    Attributes:
        centre: `none`; `subtract`: label - weight * (1 - cos); `product`: label * max(cos, 0) ** weight, where cos is
            the similarity of an image's embedding to the centre of its person's clean images.
        weight: See `centre`.
        leave_out: Leave an image's own embedding out of the centre that a clean image is compared with. A person's
            only clean image has no other to be compared with; it then gets the mean cosine of the others.
        average: Column of another method's labels, or empty. The improved labels are averaged with it, each divided
            by its mean over clean images.
        scale: `min-max`, as published; or `rank`: the share of clean and of damaged images (one half each) that are
            worse, so that targets are spread evenly over [0, 1].
    """

    centre: str = "none"
    weight: float = 0.5
    leave_out: bool = False
    average: str = ""
    scale: str = "min-max"

    def __post_init__(self) -> None:
        if self.centre not in ("none", "subtract", "product"):
            raise InputError(f"centre is {self.centre!r}, wanted none, subtract or product")
        if self.scale not in ("min-max", "rank"):
            raise InputError(f"scale is {self.scale!r}, wanted min-max or rank")


def label_column(manifest: Manifest, names: str) -> NDArray[np.float64]:
    """Return the labels of one column, or the mean rank of several: `faceqan` or `faceqan,diffiqa`.

    Returns:
        (N,), NaN where a row lacks a label. One column comes as it is. Of several, each becomes its rank among the
        rows that have them all, as a share of these (see `mid_rank`), and the ranks are averaged.

    Raises:
        InputError: A column is missing, does not hold numbers, or is all one value, or no row has all of them.
    """
    columns = {name: manifest.numbers(name) for name in names.split(",")}
    used = ~np.isnan(list(columns.values())).any(axis=0)
    if not used.any():
        raise InputError(f"no row of {len(manifest)} has a label of {' and '.join(columns)}; see the column 'error'")
    for name, values in columns.items():
        low, high = values[used].min(), values[used].max()
        if not high > low:
            raise InputError(
                f"all {used.sum()} labels of {name} are {low}, wanted labels that differ; see how they were made"
            )
    if len(columns) == 1:
        return columns[names]
    combined = np.full(len(manifest), np.nan)
    combined[used] = np.mean([mid_rank(values[used], values[used]) for values in columns.values()], axis=0)
    return combined


def make_targets(
    labels: Floats,
    embeddings: Floats | None,
    identities: Sequence[str] | NDArray[np.str_],
    clean: NDArray[np.bool_],
    settings: TargetSettings,
    other: Floats | None = None,
) -> NDArray[np.float32]:
    """Make targets in [0, 1] from labels.

    Args:
        labels: (N,) labels of a method.
        embeddings: (N, D) of the teacher; None will do where no centre is used.
        identities: Person of each image; each must have a clean one where a centre is used.
        clean: (N,) images that are not damaged copies.
        settings: See `TargetSettings`.
        other: (N,) labels of the column `settings.average`; None will do where there is none.

    Raises:
        InputError: Labels are NaN or all equal.
    """
    improved = np.asarray(labels, np.float64)
    if np.isnan(improved).any():
        raise InputError(f"{np.isnan(improved).sum()} of {len(improved)} labels are NaN; drop the rows with errors")
    if settings.centre != "none":
        assert embeddings is not None
        improved = _with_centres(improved, centre_cosines(embeddings, identities, clean, settings.leave_out), settings)
    if settings.average:
        assert other is not None
        if np.isnan(other).any():
            missing = np.isnan(other).sum()
            raise InputError(f"{missing} of {len(other)} labels of {settings.average} are NaN; label again")
        # The means are those of the labels themselves: a label keeps its weight whatever the class centres did to it.
        improved = (improved / np.mean(np.asarray(labels)[clean]) + other / other[clean].mean()) / 2
    low, high = improved.min(), improved.max()
    if not high > low:
        raise InputError(f"all {len(improved)} labels are {low}, wanted labels that differ; see how they were made")
    if settings.scale == "min-max":
        return ((improved - low) / (high - low)).astype(np.float32)
    return ranks(improved, clean)


def ranks(values: Floats, clean: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the share of clean and of damaged images, one half each, that are worse than each image: (N,) in [0, 1].

    Args:
        values: (N,) labels.
        clean: (N,) images that are not damaged copies.
    """
    groups = [values[mask] for mask in (clean, ~clean) if mask.any()]
    return np.mean([mid_rank(values, group) for group in groups], axis=0).astype(np.float32)


def _with_centres(
    labels: NDArray[np.float64], cosine: NDArray[np.float64], settings: TargetSettings
) -> NDArray[np.float64]:
    if settings.centre == "subtract":
        return labels - settings.weight * (1 - cosine)
    return labels * np.maximum(cosine, 0) ** settings.weight


def mid_rank(values: Floats, reference: Floats) -> NDArray[np.float64]:
    """Return the share of a reference sample that is below each value, ties counted half."""
    ordered = np.sort(reference)
    below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return (below + upto) / (2 * len(ordered))


def centre_cosines(
    embeddings: Floats, identities: Sequence[str] | NDArray[np.str_], clean: NDArray[np.bool_], leave_out: bool = False
) -> NDArray[np.float64]:
    """Return the cosine of each embedding to the mean raw embedding of its person's clean images.

    Raises:
        InputError: A person has no clean image, or an embedding is NaN.
    """
    names, codes = np.unique(np.asarray(identities), return_inverse=True)
    counts = np.bincount(codes[clean], minlength=len(names))
    if (counts == 0).any():
        raise InputError(
            f"{str(names[np.argmin(counts)])!r} has no clean image, so no centre; add one or drop this person"
        )
    if np.isnan(embeddings).any():
        raise InputError("embeddings hold NaN, wanted numbers; drop the rows with errors")
    raw = np.asarray(embeddings, np.float64)
    centres = class_sums(raw[clean], codes[clean], len(names))[codes]
    if leave_out:
        centres = np.where(clean[:, None], centres - raw, centres)
    cosine = np.einsum("nd,nd->n", unit(raw), unit(centres)).astype(np.float64)
    if leave_out:
        alone = clean & (counts[codes] == 1)
        cosine[alone] = cosine[clean & ~alone].mean() if (clean & ~alone).any() else 1.0
    return cosine

"""What a detector's cells should say of a scene, and how wrong they are.

Which cells answer for a face is fixed beforehand by its size and place; how sure they should be is how well their box
fits (generalised focal loss, Li et al., NeurIPS 2020), so that of several cells the best placed one wins.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sdk.detectors import cell_grid

SIZES = {8: (0.0, 48.0), 16: (32.0, 112.0), 32: (80.0, np.inf)}
"""For each stride the faces that its cells answer for: square root of the box's area, pixels."""

MARGIN = 1.5
"""Faces larger or smaller than a level's by up to this factor are neither taught nor contradicted there."""

REACH = 0.75
"""A face's cells have their middle within this many strides of the middle of its box, or, where that is more ..."""

SHARE = 0.15
"""... within this share of its size."""

BOX_WEIGHT, LANDMARK_WEIGHT = 2.0, 10.0

NEGATIVE, IGNORED, POSITIVE = 0, -1, 1


def assign(faces: NDArray[np.float32], height: int, width: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Decide what each cell of an image should say.

    Args:
        faces: (N, 15), see `train.data.photos.Rows`; a confidence of 0 marks what may be a face.
        height: Of the image, pixels.
        width: Of the image, pixels.

    Returns:
        int8 (cells,): `POSITIVE`, `NEGATIVE` or `IGNORED`; and float32 (cells, 14): the box x, y, width, height and the
        landmarks of each positive cell's face, in pixels.
    """
    grid = cell_grid(height, width)
    kinds = np.zeros(len(grid), np.int8)
    targets = np.zeros((len(grid), 14), np.float32)
    sizes = np.sqrt(faces[:, 2] * faces[:, 3])
    lows, highs = (np.select([grid[:, 2] == s for s in SIZES], [v[end] for v in SIZES.values()]) for end in (0, 1))
    for index in np.argsort(-sizes):  # where faces meet, the smaller one is in front
        x, y, w, h = faces[index, :4]
        away = np.abs(grid[:, :2] - (x + w / 2, y + h / 2)).max(1)
        near = away < np.maximum(REACH * grid[:, 2], SHARE * sizes[index])
        if faces[index, 14] == 0:
            inside = (np.abs(grid[:, :2] - (x + w / 2, y + h / 2)) < (w / 2, h / 2)).all(1)
            kinds[(near | inside) & (kinds != POSITIVE)] = IGNORED
            continue
        almost = near & (lows / MARGIN <= sizes[index]) & (sizes[index] < highs * MARGIN)
        kinds[almost & (kinds != POSITIVE)] = IGNORED
        own = near & (lows <= sizes[index]) & (sizes[index] < highs)
        kinds[own], targets[own] = POSITIVE, faces[index, :14]
    return kinds, targets


def detection_loss(cells: Tensor, kinds: Tensor, targets: Tensor, grid: Tensor) -> dict[str, Tensor]:
    """The loss of a batch.

    Args:
        cells: (N, cells, 15), see `train.networks.detector.FaceCells.cells`.
        kinds: (N, cells), see `assign`.
        targets: (N, cells, 14), see `assign`.
        grid: (cells, 3), see `sdk.detectors.cell_grid`.

    Returns:
        `score` (quality focal loss), `box` (1 - generalised IoU), `landmarks` (smooth L1 of the distance over the
        face's size), each over the number of positive cells, and their weighted sum `total`.
    """
    positive = kinds == POSITIVE
    count = positive.sum().clamp_min(1)
    where = positive.nonzero()
    found, wanted, place = cells[positive], targets[positive], grid[where[:, 1]]
    middle, stride = place[:, :2], place[:, 2:]
    size = found[:, 3:5].clamp(max=5).exp() * stride
    corner = middle + found[:, 1:3] * stride - size / 2
    iou, generalised = box_agreement(torch.cat([corner, size], 1), wanted[:, :4])
    points = middle.repeat(1, 5) + found[:, 5:] * stride
    scale = wanted[:, 2:4].prod(1, keepdim=True).clamp_min(1).sqrt()
    error = F.smooth_l1_loss(points / scale, wanted[:, 4:] / scale, reduction="sum", beta=0.01) / 10
    quality = torch.zeros_like(cells[..., 0])
    quality[positive] = iou.detach().clamp_min(0)
    logits = cells[..., 0]
    focus = (logits.sigmoid() - quality).abs().square().detach()
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    terms = {
        "score": (entropy * focus * (kinds != IGNORED)).sum() / count,
        "box": (1 - generalised).sum() / count,
        "landmarks": error / count,
    }
    return {"total": terms["score"] + BOX_WEIGHT * terms["box"] + LANDMARK_WEIGHT * terms["landmarks"], **terms}


def box_agreement(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al., CVPR 2019) of boxes x, y, width, height (N, 4), pair by pair."""
    a_far, b_far = a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]
    shared = (torch.minimum(a_far, b_far) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(1)
    union = a[:, 2:].prod(1) + b[:, 2:].prod(1) - shared
    hull = (torch.maximum(a_far, b_far) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    iou = shared / union.clamp_min(1e-9)
    return iou, iou - (hull - union) / hull.clamp_min(1e-9)

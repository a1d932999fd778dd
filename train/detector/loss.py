"""The loss of a detector's cells.

The confidence that a cell should have of its face is the IoU of its box (quality focal loss, Li et al.: Generalized
Focal Loss, NeurIPS 2020). So the cell with the best box is the surest.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from train.detector.cells import IGNORED, POSITIVE

WEIGHTS = {"score": 1.0, "box": 2.0, "place": 3.0, "landmarks": 30.0}

FINE = 32.0
"""Landmarks of faces smaller than this, pixels, count less: relative to such a face, one pixel is a large error."""


def detection_loss(cells: Tensor, kinds: Tensor, targets: Tensor, grid: Tensor) -> dict[str, Tensor]:
    """Return the loss of a batch.

    Args:
        cells: (N, cells, 15), see `train.detector.network.FaceCells.cells`.
        kinds: (N, cells), see `train.detector.cells.assign`.
        targets: (N, cells, 14), see `train.detector.cells.assign`.
        grid: (cells, 3), see `sdk.detection.networks.cell_grid`.

    Returns:
        Terms, each a sum divided by the number of positive cells. `score`: quality focal loss. `box`: 1 - generalised
        IoU. `place`: L1 of the box's middle, in widths and heights of the box, and of the logarithm of its size; it
        teaches boxes that do not overlap yet. `landmarks`: smooth L1 of the distance, as a share of the face's size; it
        teaches the box, too. `total`: their sum by `WEIGHTS`.
    """
    # A mask and no selection: a GPU would have to tell how many cells are selected, and Python would wait for it.
    positive = kinds == POSITIVE
    here, count = positive[..., None], positive.sum().clamp_min(1)
    found, wanted = torch.where(here, cells[..., 1:], 0), torch.where(here, targets, 1)
    middle, stride = grid[:, :2], grid[:, 2:]
    size = found[..., 2:4].clamp(max=5).exp() * stride
    corner = middle + found[..., :2] * stride - size / 2
    aside = (corner + size / 2 - wanted[..., :2] - wanted[..., 2:4] / 2) / wanted[..., 2:4]
    larger = found[..., 2:4] + stride.log() - wanted[..., 2:4].log()
    iou, generalised = box_agreement(torch.cat([corner, size], -1), wanted[..., :4])
    points = (corner + size / 2).repeat(1, 1, 5) + found[..., 4:] * size.repeat(1, 1, 5)
    scale = wanted[..., 2:4].prod(-1, keepdim=True).clamp_min(FINE**2).sqrt()
    error = F.smooth_l1_loss(points / scale, wanted[..., 4:] / scale, reduction="none", beta=0.01)
    quality = iou.detach().clamp_min(0) * positive
    logits = cells[..., 0]
    focus = (logits.sigmoid() - quality).abs().square().detach()
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    terms = {
        "score": (entropy * focus * (kinds != IGNORED)).sum() / count,
        "box": ((1 - generalised) * positive).sum() / count,
        "place": ((aside.abs() + larger.abs()) * here).sum() / 2 / count,
        "landmarks": (error * here).sum() / 10 / count,
    }
    total = torch.stack([weight * terms[name] for name, weight in WEIGHTS.items()]).sum()
    return {"total": total, **terms}


def box_agreement(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and generalised IoU (Rezatofighi et al., CVPR 2019) of pairs of boxes.

    Boxes are (..., 4): x, y, width, height.
    """
    a_far, b_far = a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]
    shared = (torch.minimum(a_far, b_far) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared
    hull = (torch.maximum(a_far, b_far) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    iou = shared / union.clamp_min(1e-9)
    return iou, iou - (hull - union) / hull.clamp_min(1e-9)

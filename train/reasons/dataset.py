"""Damaged faces to learn from: kinds and grades in equal shares, drawn anew in every epoch."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch.utils.data import Dataset

from sdk.errors import InputError
from train.data.dataset import BLACKENED, Item
from train.degradations.framing import Crop, blacken, cut, move
from train.degradations.graded import Damage, degrade
from train.reasons.coverings import COVERED, cover
from train.reasons.faces import CleanFaces
from train.reasons.outputs import KINDS
from train.recipes import check_least


@dataclass(frozen=True, slots=True)
class DamageSettings:
    """What is done to clean faces.

    Attributes:
        counts: Shares of the faces with no, one, two and three kinds of damage.
        least: Least grade. Weaker damage is not seen in photos from the web, which have some of each.
        reduction: Grades of several kinds are multiplied by it, for they add up.
        covered: Share of the faces with no other damage that get sunglasses, a mask or a hand.
        cuts: Share of the crops that are cut, as by the edge of a picture.
        moves: See `train.degradations.framing.move`; half of the crops are moved.
        sharpened: Share of the clean faces that are sharpened, as cameras and large pictures made smaller are.
        validation_copies: Damaged copies of each validation face.
        profiles: Pattern of the names of profiles.
        often: Kinds that are drawn more often than others.
        times: How much more often.
    """

    counts: tuple[float, ...] = (0.25, 0.45, 0.2, 0.1)
    least: float = 0.1
    reduction: float = 0.75
    covered: float = 0.15
    cuts: float = 0.3
    moves: float = 1.0
    sharpened: float = 0.3
    validation_copies: int = 2
    profiles: str = "*/profile_*"
    often: tuple[str, ...] = KINDS
    times: float = 1.0

    def __post_init__(self) -> None:
        check_least(self, 0, "moves")
        check_least(self, 1, "validation_copies", "times")
        if unknown := [kind for kind in self.often if kind not in KINDS]:
            raise InputError(f"often has {unknown[0]!r}, wanted some of: {', '.join(KINDS)}")
        for name in ("least", "reduction", "covered", "cuts", "sharpened"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}, wanted a share from 0 to 1")
        if not 1 <= len(self.counts) <= len(KINDS) or min(self.counts) < 0 or abs(sum(self.counts) - 1) > 1e-6:
            raise InputError(f"counts is {self.counts}, wanted shares of none, one, two, ... kinds; their sum is 1")


class DamagedFaces(Dataset[Item]):
    """Items by (epoch, index), random by seed, epoch and row alone.

    `image` uint8 RGB (3, 112, 112); `grades` float32 (8,), of `KINDS`; `yaw` float32, in quarter turns; `aligned`
    float32: 0 where the crop does not show the head as aligned, so that the yaw is not to be learned.

    Args:
        faces: Clean faces.
        settings: What is done to them.
        copies: Items of each face.
        flip: Probability of a left-right flip.
        seed: Of all that is random.
    """

    def __init__(self, faces: CleanFaces, settings: DamageSettings, copies: int, flip: float, seed: int) -> None:
        self._faces, self._settings, self._copies = faces, settings, copies
        self._flip, self._seed = flip, seed

    def __len__(self) -> int:
        return len(self._faces) * self._copies

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        rng = np.random.default_rng([self._seed, epoch, index])
        row = index % len(self._faces)
        damages = self._draw(rng)
        moved = "misalignment" in dict(damages)
        face, covered = self._damaged(row, damages, moved, rng)
        if rng.random() < self._flip:
            face = face[:, ::-1]
        grades = dict(damages) | ({"occlusion": COVERED} if covered else {})
        return {
            "image": torch.from_numpy(np.ascontiguousarray(face[..., ::-1].transpose(2, 0, 1))),
            "grades": torch.tensor([grades.get(kind, 0.0) for kind in KINDS]),
            "yaw": torch.tensor(float(self._faces.yaws[row])),
            "aligned": torch.tensor(0.0 if moved else 1.0),
        }

    def _draw(self, rng: Generator) -> list[Damage]:
        """Draw kinds and grades."""
        how = self._settings
        count = int(rng.choice(len(how.counts), p=how.counts))
        odds = np.array([how.times if kind in how.often else 1.0 for kind in KINDS])
        even = bool(np.ptp(odds) == 0)
        kinds = set(rng.choice(KINDS, count, replace=False, p=None if even else odds / odds.sum()).tolist())
        reduction = 1.0 if count < 2 else how.reduction
        return [(kind, reduction * rng.uniform(how.least, 1)) for kind in KINDS if kind in kinds]

    def _damaged(self, row: int, damages: list[Damage], moved: bool, rng: Generator) -> tuple[Crop, bool]:
        """Return the crop, and whether the face was covered."""
        how, face = self._settings, self._faces.crops[row]
        covered = not damages and rng.random() < how.covered
        if rng.random() < 0.5:
            face = move(face, how.moves, rng)
        if not damages and rng.random() < how.sharpened:
            face = _sharpened(face, rng.uniform(0.3, 1.5))
        if covered:
            face = cover(face, rng)
        face = degrade(face, damages, rng)
        edge = self._faces.edges.get(row)
        if edge is not None and not moved and rng.random() < BLACKENED:
            face = blacken(face, edge)
        return (cut(face, rng) if rng.random() < how.cuts else face), covered


def _sharpened(face: Crop, amount: float) -> Crop:
    """Subtract a part of what a Gaussian leaves of the crop."""
    soft = cv2.GaussianBlur(face, (0, 0), 1.0)
    return np.asarray(cv2.addWeighted(face, 1 + amount, soft, -amount, 0), np.uint8)

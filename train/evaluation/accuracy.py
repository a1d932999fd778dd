"""Verification accuracy of a face-recognition model on a list of pairs, as LFW reports it."""

import numpy as np
from numpy.typing import NDArray

from sdk.decision.comparisons import Pairs
from sdk.decision.vectors import cosines

FOLDS = 10


def ten_fold_accuracy(pairs: Pairs, embeddings: NDArray[np.floating]) -> tuple[float, float]:
    """Return the mean accuracy over ten folds, and its standard deviation.

    Each fold is a tenth of the mated and of the non-mated pairs, in the order of the list, which is LFW's own division
    where the list is whole. Its threshold is the best one on the nine others (Huang et al., LFW, 2007).

    Args:
        pairs: At least ten mated and ten non-mated ones.
        embeddings: (N, D) of the images.
    """
    parts = [np.array_split(cosines(each, embeddings), FOLDS) for each in (pairs.mated, pairs.non_mated)]
    found = []
    for fold in range(FOLDS):
        (mated, own_mated), (others, own_others) = (
            (np.concatenate([part for place, part in enumerate(parts_) if place != fold]), parts_[fold])
            for parts_ in parts
        )
        threshold = _best_threshold(mated, others)
        right = (own_mated > threshold).sum() + (own_others <= threshold).sum()
        found.append(right / (len(own_mated) + len(own_others)))
    return float(np.mean(found)), float(np.std(found))


def _best_threshold(mated: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Return the similarity above which to match, so that most pairs are right; the middle between two scores."""
    scores = np.unique(np.concatenate([mated, others]))
    cuts = np.concatenate([[-1.0], (scores[1:] + scores[:-1]) / 2])
    missed = np.searchsorted(np.sort(mated), cuts, "right")
    accepted = len(others) - np.searchsorted(np.sort(others), cuts, "right")
    return float(cuts[np.argmin(missed + accepted)])

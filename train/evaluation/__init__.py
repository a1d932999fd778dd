"""Evaluation: how much a quality measure helps face recognition; see docs/evaluation.md."""

from sdk.decision.comparisons import Pairs, mated_pairs, non_mated_pairs
from sdk.decision.edc import EDC, edc, threshold_at_fmr
from train.evaluation.curves import EvaluationSettings, SetResult, evaluate_set
from train.evaluation.pairs import read_pairs
from train.evaluation.tracks import VideoResult, evaluate_tracks

__all__ = [
    "EDC",
    "EvaluationSettings",
    "Pairs",
    "SetResult",
    "VideoResult",
    "edc",
    "evaluate_set",
    "evaluate_tracks",
    "mated_pairs",
    "non_mated_pairs",
    "read_pairs",
    "threshold_at_fmr",
]

"""Evaluation: error-versus-discard curves and what goes with them."""

from train.evaluation.comparisons import Comparisons, mated_comparisons, non_mated_comparisons
from train.evaluation.edc import EDC, edc, threshold_at_fmr

__all__ = ["EDC", "Comparisons", "edc", "mated_comparisons", "non_mated_comparisons", "threshold_at_fmr"]

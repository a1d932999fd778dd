"""From a score to a decision: quality 0 to 100, thresholds, measures and reasons."""

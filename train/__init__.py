"""fiqa-train: label, fit, evaluate."""

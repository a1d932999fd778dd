"""A whole recipe: prepare, label, fit, scale, compare. A stage that was stopped goes on; a finished one is left."""

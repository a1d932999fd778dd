"""Training: the loop, its settings, and the warm-up of a head."""

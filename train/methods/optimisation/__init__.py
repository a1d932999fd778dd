"""Label optimisation: what it does to ranks, and to a manifest."""

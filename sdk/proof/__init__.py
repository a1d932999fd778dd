"""Proof that a file scores as its source does, and how fast it is."""

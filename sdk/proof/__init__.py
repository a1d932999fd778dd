"""Prove that a model file scores as its source does, and measure how fast it is."""

"""Runtimes: the libraries that run a model, and what they share (batch sizes, threads, devices)."""

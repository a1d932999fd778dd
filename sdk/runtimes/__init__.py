"""Engines that run a model, and what they share: batches, threads, devices."""

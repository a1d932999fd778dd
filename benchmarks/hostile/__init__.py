"""Hostile inputs, drawn from a seed, and the workers that try them; see `benchmarks/hostile_inputs.py`."""

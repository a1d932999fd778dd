"""Parts of `benchmarks/gpu.py`: what is measured, and the page."""

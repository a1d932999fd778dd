"""Labelling of many images: labellers, the runner and its journal, and the engines."""

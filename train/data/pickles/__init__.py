"""Pickles of the published repositories: read without running anything in them, and written."""

"""Proof of an export: a file is compared with its source in every runtime, and the result is recorded."""

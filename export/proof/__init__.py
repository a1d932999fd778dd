"""Proof of an export: scores compared in every runtime, and the files that record it."""

"""Devices: exact float32, and functions of batches that run on one device at its own speed."""

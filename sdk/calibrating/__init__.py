"""Calibrate a model on pictures: what `fiqa calibrate` does. It needs the extra `calibrate`."""

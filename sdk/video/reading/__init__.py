"""Frames of cameras, files, folders, streams and iterators."""

"""Faces in an image: boxes, landmarks and the detector's confidence."""

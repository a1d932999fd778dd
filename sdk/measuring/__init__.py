"""Measures of faces, computed from picture, landmarks and crop."""

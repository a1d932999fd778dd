"""Manifests, faces and degradations."""

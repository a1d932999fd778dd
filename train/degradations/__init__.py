"""Degradations of faces: graded ones, those of BSRGAN, and perturbed landmarks."""

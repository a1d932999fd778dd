"""Damage to faces: graded degradations, those of BSRGAN, and perturbed landmarks."""

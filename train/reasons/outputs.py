"""What the network behind reasons gives."""

from train.degradations.graded import DEGRADATIONS

KINDS = tuple(DEGRADATIONS)
"""Kinds of damage: the outputs are their grades."""

OUTPUTS = (*KINDS, "yaw")
"""The network's outputs. Yaw is in quarter turns: 0 from the front, 1 from the side."""

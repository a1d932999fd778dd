"""Rounding that does not depend on what the process did before."""

import torch


def fix_rounding() -> None:
    """Make sums of torch on the CPU round as in any other process with as many threads.

    Setting the number of threads, even to what it is, ends the dynamic choice of threads by MKL for good. Labelling in
    the same process sets it, a run that goes on after labelling does not: without this call the two would round
    differently.
    """
    torch.set_num_threads(torch.get_num_threads())

"""Where a network comes from: a checkpoint, or a file that others published."""

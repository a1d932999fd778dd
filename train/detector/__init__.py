"""The face detector: its network, its training images, its loss and its training."""

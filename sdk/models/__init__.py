"""Models: a file and its card, the catalogue, and where the files are kept."""

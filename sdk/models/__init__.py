"""Models: a file and its card, the catalogue of known models, and the store of their files."""

"""Read frames of cameras, files, folders, streams and iterables."""

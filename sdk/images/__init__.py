"""Images: load one as pixels, and find those of a folder."""

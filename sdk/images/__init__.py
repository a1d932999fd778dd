"""Images: from a path, bytes, an array or a PIL image to checked pixels, and the images of a folder."""

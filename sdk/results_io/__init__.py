"""Files of images in, tables and the HTML report out."""

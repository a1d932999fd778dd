"""Score files of images; write tables and the HTML report."""

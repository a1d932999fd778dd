"""Headers of encoded images: size and cost of decoding, read before anything is decoded.

The decoder must get exactly the picture that was measured. So each format is read as its decoder reads it. Ambiguous
files (two headers, a field named twice) are refused. Of formats that may hold more than one picture or other data (PNG,
GIF, TIFF) the decoder gets only the parts that were read here.
"""

"""JPEG: size and cost, read as libjpeg reads the file."""

import re
import struct
from collections.abc import Iterator

from sdk.errors import ImageError

MOST_SEGMENTS = 4096
"""Most segments of a file. Usual files have some hundred at most (profiles, maps, tables)."""

MOST_VISITS = 10
"""Most times that a picture's scans may decode a block, on average. Usual progressive files do it about 5 times."""

FREE_VISITS = 1 << 22
"""Number of decoded blocks that is allowed in any picture, also beyond `MOST_VISITS`."""

# Before a marker libjpeg skips all bytes but 0xFF, an 0xFF before another 0xFF, and 0xFF 0x00. It also skips restart
# markers (D0 to D7), which have no content.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

_START_OF_SCAN, _END = 0xDA, 0xD9
_WITH_LENGTH = frozenset({0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})

_DAMAGED = "it is damaged: copy or download it again"


def read_jpeg(data: bytes) -> tuple[int, int, bool, int]:
    """Read the segments of a JPEG: up to its first scan, or all scans if the decoder keeps all coefficients.

    Returns:
        Width; height; True if the end of the file is there; most bytes that decoding takes.

    Raises:
        ImageError: The file is damaged, of a kind that is not read, or has too many scans or segments.
        IndexError, struct.error: The file ends within a segment.
    """
    frame: _Frame | None = None
    first_scan = visits = 0
    for marker, position in _segments(data):
        if marker == _END and first_scan:
            break
        if marker in _FRAMES:
            if frame is not None:
                raise ImageError(f"the JPEG has two frame headers; {_DAMAGED}")
            frame = _Frame(data, position)
        elif marker not in _WITH_LENGTH:
            raise ImageError(f"the JPEG has a marker 0x{marker:02x} where none may be; {_DAMAGED}")
        elif marker == _START_OF_SCAN:
            if frame is None:
                raise ImageError(f"the JPEG has no frame header before its first scan; {_DAMAGED}")
            components = data[position + 5 : position + 5 + 2 * data[position + 4] : 2]
            if not first_scan:
                first_scan = position
                frame.buffered = frame.progressive or len(components) < len(frame.blocks)
            if not frame.buffered:
                break
            visits += sum(frame.blocks.get(component, 0) for component in components)
            if visits > max(FREE_VISITS, MOST_VISITS * sum(frame.blocks.values())):
                raise ImageError("the JPEG has too many scans, and would take long to decode; save it again")
    if frame is None or not first_scan:
        raise ImageError("the JPEG ends before its first scan; it is truncated: copy or download it again")
    # An EXIF thumbnail has its own end marker, but lies before the first scan.
    return frame.width, frame.height, data.rfind(b"\xff\xd9") > first_scan, first_scan + frame.memory


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and position of each segment. A marker that has no segment is yielded, too, except 0x01.

    Raises:
        ImageError: A segment's length is impossible, or there are too many segments.
        struct.error: The file ends within a segment.
    """
    position = 2
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            return
        position = found.start()
        marker = data[position + 1]
        length = 0
        if marker in _FRAMES or marker in _WITH_LENGTH:
            length = struct.unpack_from(">H", data, position + 2)[0]
            if length < 2:
                raise ImageError(f"a segment of the JPEG has {length} bytes, wanted at least 2; {_DAMAGED}")
        if marker != 0x01:
            yield marker, position
        position += 2 + length
    raise ImageError(f"the JPEG has more than {MOST_SEGMENTS:,} segments; save it again")


class _Frame:
    """A frame header.

    Attributes:
        width: Pixels.
        height: Pixels.
        blocks: Number of blocks of 8 x 8 of each component, by its identifier.
        progressive: True for a progressive JPEG.
        buffered: True if the decoder keeps the coefficients of the whole picture.
    """

    def __init__(self, data: bytes, position: int) -> None:
        marker = data[position + 1]
        length, bits, self.height, self.width, count = struct.unpack_from(">HBHHB", data, position + 2)
        if marker not in _HUFFMAN_FRAMES or bits != 8:
            raise ImageError(
                f"the JPEG is of a rare kind (frame 0x{marker:02x}, {bits} bits), wanted baseline or progressive with "
                "Huffman codes and 8 bits; save it again"
            )
        if length != 8 + 3 * count or not count:
            raise ImageError(f"the JPEG's frame header has {length} bytes for {count} components; {_DAMAGED}")
        self.progressive = marker == 0xC2
        self.buffered = False
        parts = [struct.unpack_from("BB", data, position + 10 + 3 * index) for index in range(count)]
        factors = {name: (factor >> 4, factor & 15) for name, factor in parts}
        if len(factors) != count or not all(1 <= side <= 4 for pair in factors.values() for side in pair):
            raise ImageError(f"the JPEG's frame header names impossible components; {_DAMAGED}")
        across = -(-self.width // (8 * max(pair[0] for pair in factors.values())))
        down = -(-self.height // (8 * max(pair[1] for pair in factors.values())))
        self.blocks = {name: across * pair[0] * down * pair[1] for name, pair in factors.items()}

    @property
    def memory(self) -> int:
        """Most bytes that decoding takes, without the segments before the first scan, which the decoder keeps."""
        pixels = self.width * self.height
        coefficients = 128 * sum(self.blocks.values()) if self.buffered else 0
        # The decoder copies its result once, after it has freed the coefficients.
        return max(6 * pixels, 3 * pixels + coefficients)

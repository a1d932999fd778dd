"""Several pictures in one body: multipart/form-data, taken apart in memory."""

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sdk.serving.problems import Problem

LONGEST_NAME = 255
"""Most characters of a part's name that are kept."""


@dataclass(slots=True)
class Part:
    """A part of a body.

    Attributes:
        name: Name of its file; that of its field where it has none.
        data: Its content.
    """

    name: str = ""
    data: bytes = b""


@dataclass(slots=True)
class _Reader:
    """Collects what the parser tells."""

    most: int
    parts: list[Part] = field(default_factory=list)
    pieces: list[memoryview] = field(default_factory=list)
    header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    ended: bool = False

    def begin(self) -> None:
        if len(self.parts) == self.most:
            raise Problem(
                413, "too-many-parts", f"the body has more than {self.most} pictures; send them in several requests"
            )
        self.parts.append(Part())

    def take(self, data: bytes, start: int, end: int) -> None:
        self.pieces.append(memoryview(data)[start:end])

    def name(self, data: bytes, start: int, end: int) -> None:
        self.header[0].extend(data[start:end])

    def value(self, data: bytes, start: int, end: int) -> None:
        self.header[1].extend(data[start:end])

    def close_header(self) -> None:
        if self.header[0].lower() == b"content-disposition":
            options = parse_options_header(bytes(self.header[1]))[1]
            name = options.get(b"filename") or options.get(b"name") or b""
            self.parts[-1].name = name.decode("utf-8", "replace")[:LONGEST_NAME]
        self.header = (bytearray(), bytearray())

    def close(self) -> None:
        self.parts[-1].data = b"".join(self.pieces)
        self.pieces.clear()

    def end(self) -> None:
        self.ended = True


def split(body: bytes, content_type: str, most: int) -> list[Part]:
    """Take a body of the type multipart/form-data apart.

    Args:
        body: The body.
        content_type: Its type, with the boundary.
        most: Most parts.

    Raises:
        Problem: It is damaged, or has more parts, or none.
    """
    reader = _Reader(most)
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    try:
        if not boundary:
            raise FormParserError("its type names no boundary")
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin,
                "on_part_data": reader.take,
                "on_part_end": reader.close,
                "on_header_field": reader.name,
                "on_header_value": reader.value,
                "on_header_end": reader.close_header,
                "on_end": reader.end,
            },
        )
        parser.write(body)
        parser.finalize()
        if not reader.ended:
            raise FormParserError("its last boundary is missing")
    except FormParserError as error:
        raise Problem(400, "bad-request", f"the body is no multipart/form-data: {error}") from error
    if not reader.parts:
        raise Problem(400, "empty", "the body has no parts, wanted a picture in each")
    return reader.parts

"""Protocol buffers, as far as ONNX files need them; the onnx package is not part of the base install.

A message is a sequence of fields: number, wire type, value. See https://protobuf.dev/programming-guides/encoding.

Parsers disagree about numbers that are too large for their type, or encoded in more bytes than necessary. Such a number
can make two readers see two different models, and no usual writer makes one. So these files are refused.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sdk.errors import ModelError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""

_MOST_KEY, _MOST_LENGTH, _MOST_NUMBER = (1 << 32) - 1, (1 << 31) - 1, (1 << 64) - 1


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: Number of the field in its `.proto` file.
        value: An int for a varint; else the bytes of a string, a message, packed numbers, or a number of 4 or 8 bytes.
        raw: The whole encoded field, for copying.
        wire: Wire type: `VARINT`, `FIXED64`, `BYTES` or `FIXED32`.
    """

    number: int
    value: int | memoryview
    raw: memoryview
    wire: int


def read_fields(message: bytes | memoryview) -> Iterator[Field]:
    """Yield the fields of a message, without copying.

    Raises:
        ModelError: The bytes are no message, end too early, or hold a number with an unusual encoding.
    """
    view = memoryview(message)
    position = 0
    while position < len(view):
        start = position
        key, position = _read_varint(view, position, _MOST_KEY)
        wire = key & 7
        value: int | memoryview
        if wire == VARINT:
            value, position = _read_varint(view, position, _MOST_NUMBER)
        else:
            if wire == BYTES:
                length, position = _read_varint(view, position, _MOST_LENGTH)
            elif wire in (FIXED32, FIXED64):
                length = 4 if wire == FIXED32 else 8
            else:
                raise ModelError(f"not an ONNX file: wire type {wire} at byte {start}; fetch or export it again")
            value = view[position : position + length]
            position += length
            if position > len(view):
                raise ModelError("the ONNX file is truncated; fetch or export it again")
        if key < 8:
            raise ModelError(f"not an ONNX file: field 0 at byte {start}; fetch or export it again")
        yield Field(key >> 3, value, view[start:position], wire)


def read_message(message: bytes | memoryview) -> dict[int, list[memoryview]]:
    """Return the fields of a message by number, in order, without varints (for those see `read_numbers`)."""
    found: dict[int, list[memoryview]] = {}
    for field in read_fields(message):
        if isinstance(field.value, memoryview):
            found.setdefault(field.number, []).append(field.value)
    return found


def read_numbers(message: bytes | memoryview, number: int) -> list[int]:
    """Return all integers of one field, packed or not."""
    numbers = []
    for field in read_fields(message):
        if field.number != number:
            continue
        if isinstance(field.value, int):
            numbers.append(field.value)
            continue
        position = 0
        while position < len(field.value):
            value, position = _read_varint(field.value, position, _MOST_NUMBER)
            numbers.append(value)
    return numbers


def write_field(number: int, value: int | str | bytes) -> bytes:
    """Encode one field: an int as a varint; text and bytes with their length."""
    if isinstance(value, int):
        return _write_varint(number << 3 | VARINT) + _write_varint(value)
    data = value.encode() if isinstance(value, str) else value
    return write_header(number, len(data)) + data


def write_header(number: int, length: int) -> bytes:
    """Encode the beginning of a length-delimited field: everything before its bytes."""
    return _write_varint(number << 3 | BYTES) + _write_varint(length)


def _read_varint(view: memoryview, position: int, most: int) -> tuple[int, int]:
    start, value, shift = position, 0, 0
    while position < len(view) and shift < 70:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > most or (byte == 0 and shift):
                raise ModelError(
                    f"the ONNX file has a number at byte {start} of a message that is too large or written longer than "
                    "it need be; export it again"
                )
            return value, position
        shift += 7
    raise ModelError("the ONNX file is truncated or no ONNX file; fetch or export it again")


def _write_varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)

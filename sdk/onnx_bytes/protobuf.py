"""Protocol buffers on the wire, as far as ONNX files need them: the onnx package is not part of the base install.

https://protobuf.dev/programming-guides/encoding: a message is a sequence of (field number, wire type, value).

Parsers differ in what they make of numbers that are written longer than they need be or are larger than their type.
Nothing writes such files but to show two readers two things, so they are refused.
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
        number: The field's number in its `.proto` file.
        value: An int for varints, else the bytes: a string, a message, packed numbers, or 4 or 8 bytes of a number.
        raw: The whole field as it stands in the message, to be copied.
        wire: How it is written: `VARINT`, `FIXED64`, `BYTES` or `FIXED32`.
    """

    number: int
    value: int | memoryview
    raw: memoryview
    wire: int


def read_fields(message: bytes | memoryview) -> Iterator[Field]:
    """Walk through a message, copying nothing.

    Raises:
        ModelError: The bytes are not a message, end too early, or are not written as every writer does.
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
    """The fields of a message by number, in order; varints are left out (see `read_numbers`)."""
    found: dict[int, list[memoryview]] = {}
    for field in read_fields(message):
        if isinstance(field.value, memoryview):
            found.setdefault(field.number, []).append(field.value)
    return found


def read_numbers(message: bytes | memoryview, number: int) -> list[int]:
    """All integers of one field, packed or not."""
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
    """One field: an int as a varint, text and bytes with their length."""
    if isinstance(value, int):
        return _write_varint(number << 3 | VARINT) + _write_varint(value)
    data = value.encode() if isinstance(value, str) else value
    return write_header(number, len(data)) + data


def write_header(number: int, length: int) -> bytes:
    """What stands before the bytes of a length-delimited field."""
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

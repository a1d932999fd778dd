"""Tables: CSV and Parquet, read so that text stays text, and written whole.

Names are text whatever they look like: `001`, `1e5`, `NA` and an empty field come back letter by letter. A column of
which nothing is known is of numbers where every field is one, as a number is usually written; `007` makes it text.
"""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Set
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.files import check_name, make_folder, read_file, replace_file
from sdk.text import shortened
from train.data.pickles.published import SUFFIXES, is_pickle, read_scores

PATHS = ("path", "original", "source", "a", "b")
"""Columns of names of images."""

TEXT = frozenset({*PATHS, "identity", "split", "track", "degradation", "error", "root"})
"""Columns that are text, letter by letter."""

MOST_BYTES = 2 << 30
"""Largest table, as a file and in memory."""

MOST_COLUMNS = 1000

LONGEST_FIELD = 1 << 20
"""Characters of a field."""

_ADVICE = "give a folder of images, a .csv, a .parquet, or a .pkl of scores"
_SUFFIXES = (".csv", ".parquet")
_NUMBER = r"^[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$|^[-+]?([iI]nf|[iI]nfinity|INF)$"
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"
_NOTHING = ("", "nan", "NaN", "NAN", "-nan", "-NaN", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "<NA>")
_TEXTS = [
    getattr(pa.types, f"is_{kind}")
    for kind in ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    if hasattr(pa.types, f"is_{kind}")  # pyarrow 15 has no views
]
_FORMULA = re.compile(r"[=+\-@\t\r]")


def read_table(path: Path, text: Set[str] = frozenset()) -> pa.Table:
    """Read a CSV file (UTF-8, commas, a first line of names), a Parquet file, or a pickle of scores.

    The columns `TEXT` are strings without nulls. Others are numbers or strings, or in Parquet lists of them; dates are
    strings. A pickle has the columns of
    `train.data.pickles.published.read_scores`.

    Args:
        path: The file.
        text: More columns that are read as those of `TEXT`.

    Raises:
        InputError: The file is missing, damaged, too large or of another kind, or a column is, such as of structs or of
            bytes that are not UTF-8.
    """
    if not os.path.lexists(path):
        raise InputError(f"no file at {path}; {_ADVICE}")
    if is_pickle(path):
        return read_scores(path)
    if path.suffix.lower() not in _SUFFIXES:
        wanted = f"wanted .csv, .parquet or {SUFFIXES[0]}"
        raise InputError(f"{path} ends in {path.suffix or 'nothing'!r}, {wanted}; {_ADVICE}")
    text = TEXT | text
    table = _read_csv(path, text) if path.suffix.lower() == ".csv" else _read_parquet(path)
    for index, name in enumerate(table.column_names):
        if name in text:
            column = _text(table[name], f"{path}: the column {name!r}")
            table = table.set_column(index, name, _without_dots(column) if name in PATHS else column)
    return table


def _read_csv(path: Path, text: Set[str]) -> pa.Table:
    data = read_file(path, InputError, _ADVICE, MOST_BYTES)
    names = _header(data, path)
    types = dict.fromkeys(names, pa.string())
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            # One thread: errors then say in which row they are.
            pyarrow.csv.ReadOptions(use_threads=False, block_size=16 << 20),
            pyarrow.csv.ParseOptions(newlines_in_values=True),
            pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False, check_utf8=False),
        )
    except pa.ArrowException as error:
        raise InputError(f"{path} cannot be read as csv: {shortened(error)}; correct that row") from error
    for name in names:
        longest = pc.max(pc.binary_length(table[name])).as_py() or 0
        if longest > LONGEST_FIELD:
            raise InputError(
                f"{path}: a field of {name!r} has {longest:,} bytes, wanted at most {LONGEST_FIELD:,}; "
                "a quotation mark may not be closed"
            )
    for index, name in enumerate(table.column_names):
        if name not in text and name != "landmarks":
            table = table.set_column(index, name, _numbers_if_all(table[name]))
    return table


def _header(data: bytes, path: Path) -> list[str]:
    """Read the names of the columns; refuse what is no UTF-8 text with commas."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16, wanted UTF-8; save it as CSV in UTF-8")
    zero = data.find(b"\0")
    if zero >= 0:
        raise InputError(f"{path} holds a NUL character in line {data.count(10, 0, zero) + 1}; it is no text file")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path} is not UTF-8 (line {line}: {error.reason}); save it as CSV in UTF-8") from error
    if data.count(b'"') % 2:
        raise InputError(
            f"{path} has a quotation mark that is not closed, so that rows would be lost; write each twice"
        )
    first = data[: 1 << 20].removeprefix(b"\xef\xbb\xbf").decode("utf-8", "ignore")
    try:
        names = next(csv.reader(io.StringIO(first, newline="")), [])
    except csv.Error as error:
        raise InputError(f"{path} has no line of names: {error}; wanted such as path,identity") from error
    if not names:
        raise InputError(f"{path} is empty, wanted a first line of names, such as path,identity")
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{path} has {len(names):,} columns, wanted at most {MOST_COLUMNS:,}")
    for separator, called in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and separator in names[0]:
            raise InputError(f"{path} is separated by {called}, wanted commas; save it as CSV with commas")
    return _checked_names(names, path)


def _checked_names(names: list[str], path: Path) -> list[str]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{path} has {len(twice)} names of columns twice, first {shortened(twice[0])!r}; rename one")
    for name in names:
        meant = name.strip().lower()
        if meant in ("path", "identity", "landmarks", "a", "b", "mated") and name != meant and meant not in names:
            raise InputError(f"{path} has a column {name!r}, wanted {meant!r} in exactly these letters; rename it")
    return names


def _numbers_if_all(column: pa.ChunkedArray) -> pa.ChunkedArray:
    empty = pc.is_in(column, pa.array(_NOTHING))
    written = column.filter(pc.invert(empty))
    if not len(written) or not pc.all(pc.match_substring_regex(written, _NUMBER)).as_py():
        return column
    integers = pc.all(pc.match_substring_regex(written, _INTEGER)).as_py()
    return pc.if_else(empty, pa.scalar(None, pa.string()), column).cast(pa.int64() if integers else pa.float64())


def _read_parquet(path: Path) -> pa.Table:
    data = read_file(path, InputError, _ADVICE, MOST_BYTES)
    try:
        found = pyarrow.parquet.ParquetFile(pa.BufferReader(data))
        _check_claims(found, len(data), path)
        kinds = {
            field.name: _plain_type(field.type, f"{path}: the column {field.name!r}") for field in found.schema_arrow
        }
        leaves = [found.metadata.schema.column(index) for index in range(found.metadata.num_columns)]
        # A text that is repeated stays one until its size is known: a small file may repeat a large one.
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        file = pyarrow.parquet.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
        size, batches = 0, []
        for batch in file.iter_batches(4096):
            size += batch.nbytes + sum(_spelt_out(column) for column in batch.columns)
            if size > MOST_BYTES:
                raise InputError(f"{path} unpacks to more than {MOST_BYTES:,} bytes, wanted less; divide it")
            batches.append(batch)
        table = pa.Table.from_batches(batches, file.schema_arrow)
        columns = [_plain(table[name], kind, f"{path}: the column {name!r}") for name, kind in kinds.items()]
        return pa.table(columns, names=list(kinds))
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as parquet: {shortened(error)}; make it again") from error


def _check_claims(file: pyarrow.parquet.ParquetFile, size: int, path: Path) -> None:
    """Refuse what would take too much room before it is unpacked: rows, columns, and the values of their lists."""
    found, names = file.metadata, file.schema_arrow.names
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{path} has {len(names):,} columns, wanted at most {MOST_COLUMNS:,}")
    if found.num_rows > 8 * size:  # every image has a name of its own, which takes room
        raise InputError(f"{path} claims {found.num_rows:,} rows in {size:,} bytes; it is damaged, make it again")
    groups = [found.row_group(index) for index in range(found.num_row_groups)]
    if 4 * sum(group.column(index).num_values for group in groups for index in range(group.num_columns)) > MOST_BYTES:
        raise InputError(f"{path} unpacks to more than {MOST_BYTES:,} bytes, wanted less; divide it")
    _checked_names(names, path)


def _plain_type(kind: pa.DataType, what: str) -> pa.DataType:
    """Return the type that a column of a Parquet file is read as: numbers, text, or lists of them."""
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _plain_type(kind.value_type, what)
        if not types.is_nested(inner):
            return pa.list_(inner)
    elif types.is_dictionary(kind):
        return _plain_type(kind.value_type, what)
    elif types.is_temporal(kind) or any(known(kind) for known in _TEXTS):
        return pa.string()
    elif types.is_primitive(kind) or types.is_decimal(kind) or types.is_null(kind):
        return kind
    raise InputError(f"{what} is of {shortened(kind)}, wanted numbers, text or lists of them; leave it out")


def _plain(column: pa.ChunkedArray, kind: pa.DataType, what: str) -> pa.ChunkedArray:
    """Cast a column to its `_plain_type`; text must be UTF-8, which pyarrow does not check by itself."""
    try:
        column = column.cast(kind, safe=False)
    except pa.ArrowInvalid as error:  # such as of a time zone that is not known
        raise InputError(f"{what} cannot be read: {shortened(error)}; correct it, or leave it out") from error
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        why = _not_utf8(column) or f"is damaged: {shortened(error)}"
        raise InputError(f"{what} {why}; correct it, or leave it out") from error
    return column


def _not_utf8(column: pa.ChunkedArray) -> str:
    """Name the first row whose text is not UTF-8; nothing where all is."""
    for row, value in enumerate(column):
        try:
            value.as_py()
        except UnicodeDecodeError as error:
            return f"is not UTF-8 in row {row + 1} ({error.reason})"
    return ""


def _spelt_out(column: pa.Array) -> int:
    """Count the bytes of a dictionary column's texts when each row has its own; 0 for others."""
    if pa.types.is_nested(column.type):
        column = column.flatten()
    if not pa.types.is_dictionary(column.type) or not any(known(column.type.value_type) for known in _TEXTS):
        return 0
    return pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0


def _text(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    """Return values as strings, empty where there is none."""
    if pa.types.is_nested(column.type):
        raise InputError(f"{what} is of {shortened(column.type)}, wanted text")
    try:
        return pc.fill_null(column.cast(pa.string()), "")
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{what} is of {shortened(column.type)}, which is no text: {shortened(error)}") from error


def _without_dots(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Undo what `write_table` does to names that look like formulas."""
    return pc.replace_substring_regex(column, r"^\./([=+\-@\t\r])", r"\1")


def check_table_path(path: Path) -> None:
    """Fail before the work, not after it, when `write_table` could not write there.

    Raises:
        InputError: The file's ending is neither .csv nor .parquet, or the folder cannot be made or written.
        OutputError: The disk is full.
    """
    check_name(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{path} ends in {path.suffix or 'nothing'!r}, wanted .csv or .parquet")
    make_folder(path.parent)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a CSV or Parquet file, whole or not at all.

    In CSV a name of an image that a spreadsheet would take for a formula, such as `=1.png`, is written as `./=1.png`;
    `read_table` gives it back as it was.

    Raises:
        InputError: The file cannot be written there.
        OutputError: The disk is full.
    """
    check_table_path(path)
    if path.suffix.lower() == ".csv":
        replace_file(path, partial(pyarrow.csv.write_csv, _for_csv(table)))
    else:
        replace_file(path, partial(pyarrow.parquet.write_table, table))


def _for_csv(table: pa.Table) -> pa.Table:
    """Write lists as text, for CSV holds nothing else, and mask formulas."""
    for index, column in enumerate(table.schema):
        values: pa.Array | pa.ChunkedArray = table[index]
        if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            rows = [None if row is None else " ".join(map(str, row)) for row in values.to_pylist()]
            values = pa.array(rows, pa.string())
        elif column.name in (*PATHS, "error") and pa.types.is_string(column.type):
            prefix = " " if column.name == "error" else "./"
            values = pc.replace_substring_regex(values, r"^([=+\-@\t\r])", prefix + r"\1")
        else:
            continue
        table = table.set_column(index, column.name, values)
    return table


def is_formula(text: str) -> bool:
    """Tell whether a spreadsheet takes a field for a formula; a plain number is none."""
    return bool(_FORMULA.match(text)) and not re.fullmatch(r"[-+]?[0-9.,:/eE]+", text)


def numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Return a column of numbers, NaN where a row has none.

    Raises:
        InputError: A row has something else; names the row.
    """
    column = table[name]
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type):
        values = np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
    else:
        values = np.array(
            [_number(value, row, table, name) for row, value in enumerate(column.to_pylist())], np.float64
        )
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise InputError(
            f"the column {name!r} is infinite in {where(table, row)}, wanted a number; correct or empty it"
        )
    return values


def _number(value: Any, row: int, table: pa.Table, name: str) -> float:
    if value is None or (isinstance(value, str) and value in _NOTHING):
        return np.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"the column {name!r} does not hold numbers: {shortened(value)!r} in {where(table, row)}; "
            "name a column of numbers, or correct it"
        ) from error


def where(table: pa.Table, row: int) -> str:
    """Name a row for an error."""
    path = f" ({shortened(table['path'][row].as_py())!r})" if "path" in table.column_names else ""
    return f"row {row + 1}{path}"

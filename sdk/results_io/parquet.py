"""Parquet: write a table from the rows of a run when it ends, and read the rows of a table."""

import io
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

from sdk.decision.measures import SCALES
from sdk.errors import InputError
from sdk.results import Reason
from sdk.results_io.rows import COLUMNS, from_row, json_lines

_BLOCK = 4 << 20
"""Bytes of JSON Lines that become one row group, about 20,000 rows."""


class TooLate(Exception):  # noqa: N818 - no error
    """The time is over."""


def write_parquet(path: Path, rows: BinaryIO, until: float) -> None:
    """Turn JSON Lines into Parquet, one row group per block.

    Raises:
        TooLate: It is later than `until`.
    """
    pa = import_pyarrow()
    import pyarrow.json
    import pyarrow.parquet

    reason = [(each.name, pa.float64() if each.type is float else pa.string()) for each in fields(Reason)]
    kinds = {
        "path": pa.string(), "face": pa.int32(), "quality": pa.int32(), "accepted": pa.bool_(),
        "landmarks": pa.list_(pa.float32()), "error": pa.string(),
        "measures": pa.struct([(name, pa.float32()) for name in SCALES]),
        "reasons": pa.list_(pa.struct(reason)),
    }  # fmt: skip
    schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in COLUMNS])
    columns = pyarrow.json.ParseOptions(explicit_schema=schema)
    with pyarrow.parquet.ParquetWriter(path, schema) as table:
        while block := rows.read(_BLOCK) + rows.readline():
            if time.monotonic() > until:
                raise TooLate
            whole = pyarrow.json.ReadOptions(block_size=len(block) + 1)
            table.write_table(pyarrow.json.read_json(io.BytesIO(block), whole, columns))


def read_parquet(path: Path) -> Iterator[bytes]:
    """Yield the rows of a table as JSON Lines, block by block.

    Raises:
        ValueError: It is no table of scores.
    """
    pa = import_pyarrow()
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            if tuple(table.schema_arrow.names) != COLUMNS:
                raise ValueError(f"its columns are {table.schema_arrow.names}")
            for batch in table.iter_batches():
                yield json_lines(map(from_row, batch.to_pylist()))
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def import_pyarrow() -> Any:
    """Import pyarrow.

    Raises:
        InputError: It is not installed.
    """
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise InputError(
            "Parquet needs pyarrow, which is not installed; pip install 'fiqa[report]', or write .csv or .jsonl"
        ) from error
    return pyarrow

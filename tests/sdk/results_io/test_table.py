"""A table that --resume goes on with."""

import json
from pathlib import Path

import pytest

from sdk.errors import InputError
from sdk.results_io.rows import COLUMNS
from sdk.results_io.table import Table


def test_a_number_that_is_too_large_is_no_score(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(dict.fromkeys(COLUMNS) | {"path": "a.jpg", "face": 0, "score": 10**400}) + "\n")
    with Table(path, resume=True) as table, pytest.raises(InputError, match="is no table of scores"):
        list(table.earlier())

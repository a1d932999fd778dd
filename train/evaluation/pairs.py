"""Lists of comparisons: CSV, and the `pairs.txt` of LFW and XQLFW.

CSV has columns `a,b,mated`: two images, and 1 or 0.

A `pairs.txt` begins with one or two numbers: folds, and pairs of each kind in a fold. A line for each pair follows:
`name i j` for images i and j of one person, `name i name j` for images of two people. Image i of a person is
`<name>/<name>_%04d` with any suffix. Folds are for thresholds by cross-validation. Here the FMR fixes the threshold, so
all folds are one set.
"""

import math
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from sdk.decision.comparisons import Pairs
from sdk.errors import InputError
from sdk.files import read_text
from sdk.text import shortened
from train.data.manifest import Manifest, read_table

NamedPair = tuple[str, str, bool]
"""Two images, and True where they are of one person."""


def read_pairs(path: Path, manifest: Manifest) -> Pairs:
    """Read a list of comparisons and find its images.

    Args:
        path: `.csv` or `.txt`, see above.
        manifest: Images. A pair names an image by its `path`, or by its `original` or `source` where there are such
            columns. So LFW's list also fits aligned crops, and sets of damaged copies.

    Returns:
        Pairs, as indices of the manifest's rows.

    Raises:
        InputError: The list is damaged, has only one kind of pairs, or names images that the manifest lacks.
    """
    named = list(_read_text(path) if path.suffix.lower() == ".txt" else _read_csv(path))
    rows = _rows_by_name(manifest)
    missing = sorted({name for a, b, _ in named for name in (a, b) if name not in rows})
    if missing:
        raise InputError(
            f"{path} names {len(missing)} images that are not in {manifest.root}: {shortened(', '.join(missing[:5]))}"
            f"{', ...' if len(missing) > 5 else ''}; give the folder that its names start from, or drop these pairs"
        )
    found = np.array([(rows[a], rows[b]) for a, b, _ in named], np.int64).reshape(-1, 2)
    mated = np.array([pair[2] for pair in named], bool)
    return Pairs(found[mated], found[~mated])


def _rows_by_name(manifest: Manifest) -> dict[str, int]:
    """Return the row of each name, with its suffix, and without it where that is not ambiguous."""
    found: dict[str, int] = {}
    bare: dict[str, int | None] = {}
    for column in ("source", "original", "path"):
        if column not in manifest.table.column_names:
            continue
        for row, name in enumerate(manifest.column(column)):
            found[name] = row
            stem = name.removesuffix(PurePosixPath(name).suffix)
            bare[stem] = row if bare.get(stem, row) == row else None
    return {**{stem: row for stem, row in bare.items() if row is not None}, **found}


def _read_csv(path: Path) -> Iterable[NamedPair]:
    table = read_table(path)
    for column in ("a", "b", "mated"):
        if column not in table.column_names:
            raise InputError(f"{path} has no column {column!r}, only {', '.join(table.column_names)}; wanted a,b,mated")
    kinds = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
    columns = (table[name].to_pylist() for name in ("a", "b", "mated"))
    for number, (a, b, said) in enumerate(zip(*columns, strict=True)):
        mated = kinds.get(str(said).strip().lower())
        if mated is None:
            raise InputError(f"{path}: mated is {shortened(said)!r} in pair {number + 1}, wanted 1 or 0")
        if not a or not b:
            raise InputError(f"{path}: pair {number + 1} has {a!r} and {b!r}, wanted the names of two images")
        yield a, b, mated


def _read_text(path: Path) -> Iterable[NamedPair]:
    if not os.path.lexists(path):
        raise InputError(f"no file at {path}; give a .csv or a pairs.txt")
    text = read_text(path, InputError, "give a .csv or a pairs.txt")
    lines = [line.split("\t") if "\t" in line else line.split() for line in text.splitlines() if line]
    try:
        wanted = 2 * math.prod(int(number) for number in lines[0])
        pairs = [_parse(fields) for fields in lines[1:]]
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{path} is not a pairs.txt as LFW has it: {shortened(error)}; see docs/evaluation.md"
        ) from error
    if len(pairs) != wanted:
        raise InputError(f"{path} has {len(pairs)} pairs, its first line says {wanted}; copy or download it again")
    return pairs


def _parse(fields: list[str]) -> NamedPair:
    if len(fields) == 3:
        return _image(fields[0], fields[1]), _image(fields[0], fields[2]), True
    if len(fields) == 4:
        return _image(fields[0], fields[1]), _image(fields[2], fields[3]), False
    raise ValueError(f"the line {shortened(' '.join(fields))!r} has {len(fields)} fields, wanted 3 or 4")


def _image(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}"

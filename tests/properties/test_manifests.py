"""Manifests: any name is read back unchanged from CSV and Parquet, or is refused."""

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sdk.alignment import TEMPLATE, similarity_transform
from sdk.errors import FiqaError, ImageError, InputError
from tests.support.strategies import MANY, SOME, names
from train.data.manifest import parse_landmarks, read_manifest, write_table

people = st.lists(names, min_size=1, max_size=5)


def file_of(folder: Path, suffix: str, columns: dict[str, list[str]], quote: int = csv.QUOTE_MINIMAL) -> Path:
    """Return a table as other programs write it."""
    path = folder / f"faces{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pa.table(columns), path)
        return path
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quote)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    path.write_bytes(out.getvalue().encode())
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@SOME
@given(identities=people, quote=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_identities_letter_by_letter(tmp_path: Path, suffix: str, identities: list[str], quote: int) -> None:
    paths = [f"{index}.png" for index in range(len(identities))]
    source = file_of(tmp_path, suffix, {"path": paths, "identity": identities}, quote)
    try:
        manifest = read_manifest(source)
    except InputError:
        return
    assert manifest.identities == identities
    assert manifest.paths == paths
    for identity in identities:
        assert identity.strip() not in ("", ".", "..")
        assert not set(identity) & set("/\\\0\n\r\x1b")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@SOME
@given(stems=st.lists(names, min_size=1, max_size=5, unique=True))
def test_paths_letter_by_letter(tmp_path: Path, suffix: str, stems: list[str]) -> None:
    paths = [f"{stem}.png" for stem in stems]
    source = file_of(tmp_path, suffix, {"path": paths, "identity": ["ann"] * len(paths)})
    try:
        manifest = read_manifest(source)
    except InputError:
        return
    assert manifest.paths == paths


@SOME
@given(identities=people, extra=st.lists(names, min_size=5, max_size=5))
def test_what_is_written_is_read(tmp_path: Path, identities: list[str], extra: list[str]) -> None:
    paths = [f"{index}.png" for index in range(len(identities))]
    columns = {"path": paths, "identity": identities, "source": extra[: len(paths)]}
    try:
        first = read_manifest(file_of(tmp_path, ".parquet", columns))
    except InputError:
        assume(False)
    for suffix in (".csv", ".parquet"):
        write_table(first.table, tmp_path / f"again{suffix}")
        again = read_manifest(tmp_path / f"again{suffix}")
        assert (again.paths, again.identities) == (first.paths, first.identities)
        assert again.column("source") == first.column("source")


@MANY
@given(st.binary(max_size=200))
def test_any_bytes_as_csv(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "faces.csv"
    path.write_bytes(b"path,identity\n" + data)
    try:
        manifest = read_manifest(path)
    except InputError:
        return
    assert all(isinstance(name, str) and name for name in manifest.paths)


@MANY
@given(
    st.text(max_size=60)
    | st.lists(st.floats() | st.none() | st.text(max_size=3), max_size=12)
    | st.none()
    | st.floats()
)
def test_landmarks(value: object) -> None:
    try:
        points = parse_landmarks(value, Path("face.png"))
    except ImageError:
        return
    if points is not None:
        assert points.shape == (5, 2)
        assert np.isfinite(points).all()


coordinates = st.floats(-1e6, 1e6, allow_nan=False)


@MANY
@given(st.lists(coordinates | st.floats(), min_size=10, max_size=10))
def test_alignment_of_any_landmarks(numbers: list[float]) -> None:
    points = np.array(numbers).reshape(5, 2)
    try:
        matrix = similarity_transform(points)
    except FiqaError:
        return
    assert matrix.shape == (2, 3)
    assert np.isfinite(matrix).all()


@SOME
@given(st.floats(0.1, 20), st.floats(-3.1, 3.1), coordinates, coordinates)
def test_alignment_undoes_a_similarity(scale: float, angle: float, x: float, y: float) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity_transform(TEMPLATE @ turn.T + (x, y))
    moved = np.column_stack([TEMPLATE @ turn.T + (x, y), np.ones(5)]) @ matrix.T
    np.testing.assert_allclose(moved, TEMPLATE, atol=1e-3)

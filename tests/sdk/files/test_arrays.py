"""Arrays of unknown origin: read if they are as wanted, else refused before they take memory."""

import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sdk.errors import InputError
from sdk.files.arrays import open_npy, read_npz

WANTED = {"rows": ("iu", (None, 3)), "label": ("U", ())}
MOST = 1 << 16


def npy(values: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values))
    return file.getvalue()


def claims(shape: tuple[int, ...], dtype: str = "<i8", data: bytes = b"") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def header(text: str, version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version == b"\1\0" else 4, "little") + text.encode()


def archive(path: Path, packing: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", packing) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(tmp_path: Path, save) -> None:
    rows = np.asfortranarray(np.arange(12).reshape(4, 3))
    save(tmp_path / "a.npz", rows=rows, label=np.array("naïve"), more=np.zeros(9))
    found = read_npz(tmp_path / "a.npz", WANTED, MOST, "make it again")
    np.testing.assert_array_equal(found["rows"], rows)
    assert str(found["label"]) == "naïve"
    assert list(found) == ["rows", "label"]


GOOD, LABEL = npy(np.zeros((2, 3), np.int64)), npy("x")


@pytest.mark.parametrize(
    ("rows", "label", "words"),
    [
        (claims((10**12, 3)), LABEL, "at most"),
        (claims((1 << 70, 3)), LABEL, "wanted the type"),
        (claims((1 << 40, 3), "<U0"), LABEL, "wanted the type"),
        (claims((2, 3), data=bytes(47)), LABEL, "more or fewer bytes"),
        (claims((2, 3), data=bytes(49)), LABEL, "more or fewer bytes"),
        (npy(np.zeros((2, 4), np.int64)), LABEL, "wanted the type"),
        (npy(np.zeros((2, 3))), LABEL, "wanted the type"),
        (npy(np.zeros(3, np.int64)), LABEL, "wanted the type"),
        (b"PK", LABEL, "no array of numpy"),
        (b"\x93NUMPY\1\0\xff\xff{", LABEL, "damaged"),
        (header("(" * 9000), LABEL, "damaged"),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }"), LABEL, "wanted the type"),
        (header("{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (2,), }"), LABEL, "objects or records"),
        (header("{'descr': 'q99', 'fortran_order': False, 'shape': (2, 3), }"), LABEL, "does not fit"),
        (header("{'descr': '<i8', 'fortran_order': False, 'shape': (1 2, 3), }"), LABEL, "does not fit"),
        (header("{'descr': '<i8', 'fortran_order': False, 'shape': (" + "9" * 5000 + ", 3), }"), LABEL, "does not fit"),
        (header("{'descr': '<i8'}", b"\3\0"), LABEL, "damaged"),
        (pickle.dumps([1]), LABEL, "no array of numpy"),
        (GOOD, claims((), "<U100000000"), "at most"),
        (GOOD, claims((), "<U9999999999"), "does not fit|at most"),  # NumPy 1 takes the size modulo 2**32
        (GOOD, claims((), "<U1", b"\xff\xff\xff\x7f"), "text that is none"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_little_memory(tmp_path, rows: bytes, label: bytes, words: str) -> None:
    path = archive(tmp_path / "a.npz", rows=rows, label=label)
    tracemalloc.start()
    with pytest.raises(InputError, match=words) as error:
        read_npz(path, WANTED, MOST, "make it again")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert str(error.value).endswith("; make it again")
    assert str(path) in str(error.value)


def test_an_archive_that_unpacks_to_more_than_it_says_is_left_early(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("rows.npy", claims((100, 3), data=bytes(64 << 20)))
        file.writestr("label.npy", LABEL)
    tracemalloc.start()
    with pytest.raises(InputError, match="more or fewer bytes"):
        read_npz(tmp_path / "a.npz", WANTED, MOST, "make it again")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_pack_are_refused(tmp_path, packing: int) -> None:
    with pytest.raises(InputError, match="packed in another way"):
        read_npz(archive(tmp_path / "a.npz", packing, rows=GOOD, label=LABEL), WANTED, MOST, "x")


def test_damage_anywhere_is_an_input_error_or_no_damage(tmp_path) -> None:
    whole = archive(tmp_path / "a.npz", rows=npy(np.arange(30).reshape(10, 3)), label=LABEL).read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        (tmp_path / "b.npz").write_bytes(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else data)
        try:
            found = read_npz(tmp_path / "b.npz", WANTED, MOST, "x")
        except InputError:
            refused += 1
        else:
            assert found["rows"].ndim == 2
    assert refused > 200


def test_files_that_are_no_archives(tmp_path) -> None:
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "large.npz").write_bytes(bytes(MOST + (2 << 20)))
    for name in ("empty.npz", "large.npz", "missing.npz", ".", "a\0b"):
        with pytest.raises(InputError):
            read_npz(tmp_path / name, WANTED, MOST, "x")


def test_an_array_on_disk_is_mapped(tmp_path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "none.npy", values[:0])
    np.testing.assert_array_equal(open_npy(tmp_path / "a.npy", ("f", (None, 4)), "x"), values)
    assert open_npy(tmp_path / "none.npy", ("f", (None, 4)), "x").shape == (0, 4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (claims((10**9, 4), "<f4"), "its header says 16,000,000,"),
        (npy(np.zeros((3, 4), np.float32))[:-1], "its header says"),
        (npy(np.zeros((3, 5), np.float32)), "wanted the type"),
        (npy(np.zeros((3, 4), np.int32)), "wanted the type"),
        (b"", "no array of numpy"),
    ],
)
def test_an_array_on_disk_that_does_not_fit_is_refused(tmp_path, data: bytes, words: str) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(InputError, match=words):
        open_npy(tmp_path / "a.npy", ("f", (None, 4)), "embed again")

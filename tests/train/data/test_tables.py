"""Text stays text in every table, numbers stay numbers, and what is no table is said."""

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdk.errors import InputError
from train.data import tables
from train.data.identities import check_identity, identities_from_folders
from train.data.manifest import read_manifest, read_table, write_table
from train.evaluation.pairs import read_pairs

NAMES = [
    "007", "7", "2e3", "2000", "3.140", "3.14", "23:59", "19991231235959999999", "NaN", "None", "false", "-0", "+1",
    "2024-02-30", " x", "x ", "N_A", "inf", "1_000", "0x1f", "Zoë",
]  # fmt: skip


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_names_come_back_letter_by_letter(tmp_path: Path, quote: str, end: str) -> None:
    rows = [f"{quote}{n}.5{quote},{quote}{name}{quote},{quote}{name}{quote}" for n, name in enumerate(NAMES)]
    (tmp_path / "m.csv").write_bytes(end.join(["path,identity,track", *rows, ""]).encode())
    manifest = read_manifest(tmp_path / "m.csv")
    assert manifest.identities == NAMES == manifest.column("track")
    assert manifest.paths == [f"{n}.5" for n in range(len(NAMES))]
    for suffix in (".csv", ".parquet"):
        write_table(manifest.table, tmp_path / f"again{suffix}")
        assert read_manifest(tmp_path / f"again{suffix}").table.to_pylist() == manifest.table.to_pylist()


def test_a_name_that_comes_late_changes_no_earlier_one(tmp_path: Path) -> None:
    count = 1_200_000  # more than a block of the reader
    text = "path,identity,q\n" + "".join(f"{n}.png,{n % 97:03d},{n}\n" for n in range(count)) + "x.png,ann,0.5\n"
    (tmp_path / "m.csv").write_text(text)
    table = read_table(tmp_path / "m.csv")
    assert (table["identity"][0].as_py(), table["identity"][-1].as_py()) == ("000", "ann")
    assert table["q"].type == pa.float64()


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (pa.array([3, 4]), ["3", "4"]),
        (pa.array(["01", "1"]).dictionary_encode(), ["01", "1"]),
        (pa.array(["01", "1"], pa.large_string()), ["01", "1"]),
        (pa.array([b"01", b"1"]), ["01", "1"]),
        (pa.array([True, False]), ["true", "false"]),
    ],
)
def test_names_in_parquet(tmp_path: Path, values: pa.Array, wanted: list[str]) -> None:
    pyarrow.parquet.write_table(pa.table({"path": ["a", "b"], "identity": values}), tmp_path / "m.parquet")
    assert read_manifest(tmp_path / "m.parquet").identities == wanted


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (["1", "2"], [1, 2]),
        (["0.5", ""], [0.5, None]),
        (["NA", "1e-3"], [None, 0.001]),
        (["01", "2"], ["01", "2"]),
        (["1.5", "x"], ["1.5", "x"]),
        (["", ""], ["", ""]),
        (["12345678901234567890123", "1"], [1.2345678901234568e22, 1.0]),
    ],
)
def test_other_columns_are_numbers_where_all_are(tmp_path: Path, fields: list[str], wanted: list[Any]) -> None:
    (tmp_path / "m.csv").write_text("path,q\n" + "".join(f"{n}.png,{field}\n" for n, field in enumerate(fields)))
    assert read_table(tmp_path / "m.csv")["q"].to_pylist() == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("path;identity\na;b\n", "separated by semicolons"),
        ("path\tidentity\na\tb\n", "separated by tabs"),
        ("path,identity\na,b,c\n", "Row #2"),
        ("path,path\na,b\n", "twice, first 'path'"),
        ("Path,identity\na,b\n", "has a column 'Path', wanted 'path'"),
        ("path, identity\na,b\n", "has a column ' identity', wanted 'identity'"),
        ("a.png,ann\nb.png,bob\n", "no column 'path', only a.png, ann"),
        ("path,q\na.png,1\n".encode("utf-16"), "is UTF-16"),
        (b"path,identity\na.png,M\xfcller\n", "not UTF-8 .line 2"),
        (b"path\na\0.png\n", "NUL character in line 2"),
        ("path,q\na.png," + "x" * (2 << 20) + "\n", "has 2,097,152 bytes"),
        ('path,q\na.png,"open\nb.png,1\n', "quotation mark that is not closed"),
        (",".join(f"c{n}" for n in range(200_000)) + "\n", "200,000 columns|is empty|columns, wanted"),
        ("path,identity\n,ann\n", "has '' as path in row 1"),
    ],
)
def test_what_is_no_table_is_said(tmp_path: Path, content: str | bytes, message: str) -> None:
    (tmp_path / "m.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as raised:
        read_manifest(tmp_path / "m.csv")
    assert len(str(raised.value)) < 1000


def test_a_mark_of_byte_order_and_quoted_line_breaks(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes('\ufeffpath,note\n"a,b.png","one\ntwo"\n'.encode())
    assert read_table(tmp_path / "m.csv").to_pylist() == [{"path": "a,b.png", "note": "one\ntwo"}]


def test_parquet_that_unpacks_to_more_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repeated = pa.table({"path": [str(n) for n in range(1000)], "note": ["x" * 100_000] * 1000})
    pyarrow.parquet.write_table(repeated, tmp_path / "m.parquet")
    assert (tmp_path / "m.parquet").stat().st_size < 200_000
    monkeypatch.setattr(tables, "MOST_BYTES", 50_000_000)
    with pytest.raises(InputError, match="unpacks to more than"):
        read_table(tmp_path / "m.parquet")
    whole = (tmp_path / "m.parquet").read_bytes()
    for data in (whole[:-9], whole[: len(whole) // 2] + whole[-500:], b"PAR1" * 9):
        (tmp_path / "m.parquet").write_bytes(data)
        with pytest.raises(InputError, match=r"m\.parquet"):
            read_table(tmp_path / "m.parquet")
    os.mkfifo(tmp_path / "p.csv")
    with pytest.raises(InputError, match="is a pipe"):
        read_table(tmp_path / "p.csv")


LATIN = pa.array([b"Zo\xc3\xab", None, b"Zo\xeb"])
"""The last one is not UTF-8."""


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("path", LATIN.cast(pa.string(), safe=False), "'path' is not UTF-8 in row 3"),
        ("identity", LATIN.cast(pa.string(), safe=False).dictionary_encode(), "'identity' is not UTF-8 in row 3"),
        ("note", LATIN.cast(pa.large_string(), safe=False), "'note' is not UTF-8 in row 3"),
        ("note", LATIN, "'note' is not UTF-8 in row 3"),
        ("tags", pa.ListArray.from_arrays([0, 2, 2, 3], LATIN.cast(pa.string(), safe=False)), "'tags' is not .* row 3"),
        ("box", pa.array([{"x": 1, "y": 2}] * 3), r"'box' is of struct<.*, wanted numbers, text or lists"),
        ("facts", pa.array([[("age", 3)]] * 3, pa.map_(pa.string(), pa.int8())), "'facts' is of map<"),
        ("points", pa.array([[[1, 2]]] * 3), "'points' is of list<.*list<"),
        ("digest", pa.array([b"0123"] * 3, pa.binary(4)), r"'digest' is of fixed_size_binary\[4\]"),
        ("taken", pa.array([0, 1, 2], pa.timestamp("s", "Moon/Tycho")), "'taken' cannot be read: .*Moon/Tycho"),
    ],
)
def test_columns_of_parquet_that_no_table_can_hold(tmp_path: Path, name: str, values: pa.Array, message: str) -> None:
    columns = {"path": pa.array(["a", "b", "c"]), name: values}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "m.parquet")
    with pytest.raises(InputError, match=rf"m\.parquet: the column {message}"):
        read_manifest(tmp_path / "m.parquet")


@pytest.mark.parametrize(
    ("values", "wanted", "as_csv"),
    [
        (pa.array([b"Zo\xc3\xab", b"x"]), ["Zoë", "x"], '"Zoë"'),
        (
            pa.array([["u", "v"], None]).cast(pa.list_(pa.dictionary(pa.int32(), pa.string()))),
            [["u", "v"], None],
            '"u v"',
        ),
        (pa.array([[1, 2], [3, 4]], pa.large_list(pa.int8())), [[1, 2], [3, 4]], '"1 2"'),
        (
            pa.array([0, 86_400_000], pa.timestamp("ms")),
            ["1970-01-01 00:00:00.000", "1970-01-02 00:00:00.000"],
            '"1970-01-01 00:00:00.000"',
        ),
        (pa.array([2**31 - 1, 0], pa.date32()), ["<value out of range: 2147483647>", "1970-01-01"], '"<value out of r'),
        (pa.array([1.5, None], pa.float32()), [1.5, None], "1.5"),
    ],
)
def test_columns_of_parquet_become_numbers_and_text(
    tmp_path: Path, values: pa.Array, wanted: list[Any], as_csv: str
) -> None:
    pyarrow.parquet.write_table(pa.table({"path": ["a", "b"], "note": values}), tmp_path / "m.parquet")
    table = read_manifest(tmp_path / "m.parquet").table
    assert table["note"].to_pylist() == wanted
    write_table(table, tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text().splitlines()[1].startswith(f'"a",{as_csv}')


@pytest.mark.parametrize("values", [["x" * 100_000], [7] * 100_000])
def test_lists_of_parquet_that_unpack_to_more_than_they_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[Any]
) -> None:
    rows = pa.table({"path": [str(n) for n in range(1000)], "note": [values] * 1000})
    pyarrow.parquet.write_table(rows, tmp_path / "m.parquet")
    assert (tmp_path / "m.parquet").stat().st_size < 500_000
    monkeypatch.setattr(tables, "MOST_BYTES", 50_000_000)
    with pytest.raises(InputError, match="unpacks to more than"):
        read_table(tmp_path / "m.parquet")


@pytest.mark.parametrize(
    "identity",
    [
        "a\0b",
        "",
        "  ",
        ".",
        "..",
        "a/b",
        "a\\b",
        "../up",
        "/root",
        "x\ty",
        "a\x1b[31m",
        "n" * 300,
        "=1+1",
        "@sum",
        "-cmd|x",
    ],
)
def test_identities_that_are_refused_by_their_row(tmp_path: Path, identity: str) -> None:
    assert check_identity(identity)
    rows = pa.table({"path": ["a.png", "b.png"], "identity": ["ann", identity]})
    write_table(rows, tmp_path / "m.parquet")
    with pytest.raises(InputError, match=r"identity in row 2 \('b.png'\)"):
        read_manifest(tmp_path / "m.parquet")


def test_people_are_named_by_the_path_of_their_folder() -> None:
    paths = ["ann/1.png", "vgg/01/a.png", "casia/01/a.png", "top.png", "/data/eve/b.png", "../up/max/c.png", "=1.png"]
    found = identities_from_folders(paths)
    assert found[:6] == ["ann", "vgg~01", "casia~01", "top.png", "data~eve", "up~max"]
    assert check_identity(found[6]) == ""
    assert len(set(found)) == 7
    with pytest.raises(InputError, match="vgg/01 and vgg~01 would be one person"):
        identities_from_folders(["vgg/01/a.png", "vgg~01/a.png"])
    with pytest.raises(InputError, match="takes for a formula"):
        identities_from_folders(["=x/a.png"])


def test_names_that_are_formulas_come_back(tmp_path: Path) -> None:
    names = ["=1.png", "+a/b.png", "-x.png", "@y.png", "ok.png"]
    table = pa.table({"path": names, "identity": ["a"] * 5, "error": ["-bad", "", "", "", ""], "q": [-1.0, 1, 1, 1, 1]})
    write_table(table, tmp_path / "m.csv")
    text = (tmp_path / "m.csv").read_text()
    assert '"./=1.png"' in text
    assert '" -bad",-1' in text
    manifest = read_manifest(tmp_path / "m.csv")
    assert manifest.paths == names
    write_table(pa.table({"a": names[:2], "b": names[2:4], "mated": [1, 0]}), tmp_path / "pairs.csv")
    pairs = read_pairs(tmp_path / "pairs.csv", manifest)
    assert (pairs.mated.tolist(), pairs.non_mated.tolist()) == ([[0, 2]], [[1, 3]])


@pytest.mark.parametrize(
    ("values", "message"),
    [(["1", "x"], "'x' in row 2"), (["1", "inf"], "infinite in row 2"), ([[1], [2]], "in row 1")],
)
def test_numbers_that_are_none(tmp_path: Path, values: list[Any], message: str) -> None:
    pyarrow.parquet.write_table(pa.table({"path": ["a", "b"], "q": values}), tmp_path / "m.parquet")
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path / "m.parquet").numbers("q")


NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=st.lists(NAME, min_size=1, max_size=5, unique=True), notes=st.data())
def test_any_names_come_back(tmp_path: Path, paths: list[str], notes: st.DataObject) -> None:
    people = [notes.draw(NAME.filter(lambda name: not check_identity(name))) for _ in paths]
    table = pa.table({"path": paths, "identity": people})
    for suffix in (".csv", ".parquet"):
        write_table(table, tmp_path / f"m{suffix}")
        found = read_table(tmp_path / f"m{suffix}")
        assert found["identity"].to_pylist() == people
        assert found["path"].to_pylist() == [path.removeprefix("./") if is_dotted(path) else path for path in paths]


def is_dotted(path: str) -> bool:
    """A name as `write_table` itself would write it."""
    return path.startswith("./") and path[2:3] in ("=", "+", "-", "@", "\t", "\r")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300) | st.text(alphabet='path,"\n\r;=\t01ü', max_size=80).map(str.encode))
def test_any_bytes_are_a_table_or_an_error(tmp_path: Path, data: bytes) -> None:
    for name in ("m.csv", "m.parquet"):
        (tmp_path / name).write_bytes(data)
        with contextlib.suppress(InputError):
            assert len(read_manifest(tmp_path / name)) > 0


def test_arrays_are_not_tables(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    (tmp_path / "m.csv").write_bytes(content.getvalue())
    with pytest.raises(InputError, match=r"NUL character|not UTF-8"):
        read_table(tmp_path / "m.csv")

"""Tables in CSV and Parquet, pairs, recipes, journals, archives and insightface's `.bin`: good, odd and damaged."""

import csv
import io
import json
import pickle
import random
import tarfile
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from hostile.checkpoints import evil
from hostile.inputs import mutate

NAMES = (
    "001", "0", "1e5", "-1", "1.0", "NaN", "nan", "null", "NULL", "None", "NA", "N/A", "#N/A", "true", "False",
    "2020-01-01", "12:30:00", "", " ", "\t", ".", "..",
    "a/b", "/abs", "..\\up", "C:\\x", "a\0b", "a\nb", "a\rb", '"q"', "it's", "a,b", "a;b", "=1+1", "+1", "@x",
    "\x1b[31mred", "[bold]x[/]", ":smile:", "é", "e\u0301",
    "张伟", "\u202etxt", "\u2028", "\ufeff", "😀", "x" * 300, "x" * 5000, "con", "~", "ann", "Ann", "ann ", " ann",
    "1_000", "0x10", "inf", "1,5", "%s", "{}", "$HOME",
)  # fmt: skip
"""Identities and names of files that readers take for something else."""

HARMLESS = ("ann", "bob", "001", "1e5", "NaN", "null", "true", "2020-01-01", "é", "张伟", "x.y", "NA", "0x10", "1_000")
"""Identities that are refused by nobody and must come back letter by letter."""

LANDMARKS = (
    "38 51 73 51 56 71 41 92 70 92",
    "38.5 51 73 51 56 71 41 92 70 92",
    "",
    "1 2 3",
    "a b c d e f g h i j",
    "nan " * 10,
    "0 " * 10,
    "1e400 " * 10,
    "38,51,73,51,56,71,41,92,70,92",
)

VALUES = ("0.5", "1", "", "nan", "inf", "-inf", "1e999", "text", "0,5", "-0.0", "0.5 ", "1e-320")

CROP: bytes = cv2.imencode(".png", np.full((112, 112, 3), 120, np.uint8))[1].tobytes()
"""An aligned crop."""


def rows_of(draw: random.Random, names: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a manifest with some of its columns."""
    columns: dict[str, Callable[[int], str]] = {
        "identity": lambda i: draw.choice(names), "landmarks": lambda i: draw.choice(LANDMARKS),
        "faceqan": lambda i: draw.choice(VALUES),
        "split": lambda i: draw.choice(("train", "validation", "test", "", "other")),
        "error": lambda i: draw.choice(("", "", "x")),
        "degradation": lambda i: draw.choice(("", "blur 0.5", "x")), "original": lambda i: "a.png",
        "source": lambda i: draw.choice(("a.png", "b.png")), "": lambda i: "1",
    }  # fmt: skip
    chosen = [name for name in columns if draw.random() < (0.8 if name == "identity" else 0.3)]
    return [
        {"path": f"{draw.choice(names)[:40]}/{i}.png", **{name: columns[name](i) for name in chosen}}
        for i in range(draw.randint(1, 8))
    ]


def write_csv(rows: list[dict[str, str]], **dialect: Any) -> bytes:
    """Rows as CSV, all of it quoted where it must be."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), **dialect)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def odd_csv(draw: random.Random, rows: list[dict[str, str]]) -> bytes:
    """A CSV file in which something is not as wanted: its encoding, its dialect, its shape."""
    good = write_csv(
        rows, lineterminator=draw.choice(("\r\n", "\n", "\r")), quoting=draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    )
    head, _, body = good.partition(b"\n")
    return draw.choice((
        lambda: good, lambda: good, lambda: mutate(draw, good)[0], lambda: b"\xef\xbb\xbf" + good,
        lambda: good.decode("utf-8", "replace").encode("utf-16"),
        lambda: good.decode("utf-8", "replace").encode("latin-1", "replace") + b"\xe9\xff",
        lambda: good.replace(b",", b";"), lambda: good.replace(b",", b"\t"),
        lambda: good + b"a,b,c,d,e,f,g,h,i,j,k\n", lambda: good + b"a\n", lambda: body, lambda: head,
        lambda: head + b"\n", lambda: b"", lambda: b"\n\n\n",
        lambda: good + b'"never closed', lambda: good + b"\0\0", lambda: head + b",path,path\n" + body,
        lambda: good * 2, lambda: b"path\n" + b"x" * (2 << 20),
        lambda: b"path," + b",".join(b"c%d" % i for i in range(20_000)) + b"\na" + b"," * 20_000 + b"\n",
        lambda: b"path\n" + b"".join(b"%d.png\n" % i for i in range(100_000)),
        lambda: b"Path,Identity\na.png,ann\n", lambda: b"path ,identity\na.png,ann\n",
        lambda: b"path\n" + b'"' * 10_001, lambda: b"# comment\n" + good,
    ))()  # fmt: skip


def odd_parquet(draw: random.Random, rows: list[dict[str, str]]) -> bytes:
    """A Parquet file whose columns are of other types than text, or that is damaged."""
    table = pa.Table.from_pylist([{key: value.replace("\ud800", "") for key, value in row.items()} for row in rows])
    count = len(table)
    odd: dict[str, Callable[[], Any]] = {
        "numbers": lambda: pa.array(range(count)), "floats": lambda: pa.array([float(i) for i in range(count)]),
        "lists": lambda: pa.array([["a"]] * count),
        "structs": lambda: pa.array([{"a": 1}] * count), "nulls": lambda: pa.nulls(count),
        "some nulls": lambda: pa.array(["a", None] * count)[:count],
        "bytes": lambda: pa.array([b"\xff\xfe"] * count),
        "dictionary": lambda: pa.array(["a"] * count).dictionary_encode(), "booleans": lambda: pa.array([True] * count),
        "times": lambda: pa.array([0] * count, pa.timestamp("ns")),
        "large": lambda: pa.array(["a"] * count, pa.large_string()),
        "floats in lists": lambda: pa.array([[1.0] * 10] * count),
        "fixed": lambda: pa.array([[1.0] * 10] * count, pa.list_(pa.float32(), 10)),
        "nan": lambda: pa.array([float("nan")] * count), "views": lambda: pa.array(["a"] * count, pa.string_view()),
    }  # fmt: skip
    if draw.random() < 0.7:
        name = draw.choice((*table.column_names, "landmarks", "faceqan"))
        values = odd[draw.choice(list(odd))]()
        place = table.column_names.index(name) if name in table.column_names else -1
        table = table.set_column(place, name, values) if place >= 0 else table.append_column(name, values)
    if draw.random() < 0.1:
        table = table.append_column("path", table["path"])
    if draw.random() < 0.1:
        table = table.slice(0, 0)
    if draw.random() < 0.05:  # a gigabyte of text in a few bytes: one value in many rows
        table = pa.table(
            {"path": pa.array(["x" * 1000]).dictionary_encode().take(pa.array(np.zeros(1_000_000, np.int64)))}
        )
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, compression=draw.choice(("snappy", "gzip", "zstd", "none")))
    data = out.getvalue()
    return mutate(draw, data)[0] if draw.random() < 0.4 else data


def pairs_text(draw: random.Random) -> bytes:
    """A `pairs.txt` or a CSV of pairs, right or wrong."""
    lines = draw.choice((
        ["1", "ann 1 2", "ann 1 bob 1"], ["1 1", "ann 1 2", "ann 1 bob 1"], ["1", "ann\t1\t2", "ann\t1\tbob\t1"],
        ["99", "ann 1 2"], ["x"], [], ["1", "ann 1"], ["-1"],
        ["1", "ann one two"], ["1", f"ann {'9' * 5000} 2"], ["9" * 5000], ["1 " * 1000], ["1", "ann 1 2 3 4 5"],
        ["1", "ann -1 2", "ann 1 bob 1"], ["0"], ["1e3"], ["\ufeff1", "ann 1 2"],
        ["a,b,mated", "ann/0.png,ann/1.png,1", "ann/0.png,bob/0.png,0"], ["a,b,mated", "ann/0.png,ann/1.png,true"],
        ["a,b,mated", "ann/0.png,ann/1.png,2"], ["a,b", "x,y"],
        ["a,b,mated", "0001,0002,1"], ["a,b,mated"], ["a,b,mated,mated", "x,y,1,0"], ["a,b,mated", ",,"],
        ["a,b,mated", "ann/0.png,ann/0.png,1"],
    ))  # fmt: skip
    data = "\n".join(lines).encode()
    return mutate(draw, data)[0] if data and draw.random() < 0.3 else data


RECIPE = b"""
network: fiqa-nano
prepare: {source: faces.tar, landmarks: landmarks.npz, copies: 1}
teacher: {model: mobilefacenet128, weights: weights.safetensors}
faceqan: {iterations: 1}
ediffiqa: {label: faceqan, beta: 1.0, theta: 0.5}
targets: {centre: product, weight: 2.0, average: lightqnet, scale: rank}
warm_up: {epochs: 8, lr: 3.0e-3}
training: {epochs: 1, batch_size: 64, groups: [{lr: 3.0e-5}, {lr: 3.0e-5, tensors: 3}], ema: 0.5, schedule: swa}
evaluate: {fmr: [1.0e-3], rates: [0.2, 0.3]}
"""

YAML_VALUES = (
    "1", "-1", "0", "0.5", "-0.5", "1.0e+400", ".nan", ".inf", "-.inf", "true", "yes", "null", "~", "text", "''", "[]",
    "{}", "[1, a]", "{a: 1}", "'1'", "2020-01-01", "1:30", "0x10", "1e3",
    "1_000", "0o7", "[[]]", "!!python/object/apply:os.system ['touch canary']", "!!python/name:os.system",
    "!!binary aGFsbG8=", "!!set {a}", "&a [*a]", "&a {b: *a}", "*none", "!x y", "? a", "1" * 5000,
    "'" + "x" * 100_000 + "'", "[" * 5000 + "]" * 5000, "|\n  text", "!!float x", "!!int '0x'", "!!timestamp x",
    "9223372036854775808", "2001-99-99",
)  # fmt: skip


def recipe(draw: random.Random) -> bytes:
    """A recipe: with another value somewhere, aliases that multiply, or none at all."""
    kind = draw.randrange(10)
    if kind == 0:
        bomb = b"a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + b"".join(
            b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, draw.choice((5, 9, 12)))
        )
        return bomb + RECIPE if draw.random() < 0.5 else RECIPE + b"peers: \n  " + bomb.replace(b"\n", b"\n  ")
    if kind == 1:
        return mutate(draw, RECIPE)[0]
    if kind == 2:
        return draw.choice((b"", b"---\n---\n", b"[]", b"- a", b"text", b"null", b"\xff\xfe",
            RECIPE.decode().encode("utf-16"), b"\x89PNG\r\n\x1a\n" + bytes(500), b"\0" * 100, b"1: 2", b"{a: b",
            b"\xe9: 1",
                            b"? [a]\n: b", b"? {a: b}\n: c", RECIPE + RECIPE, b"<<: [1]",
                            b"<<: {network: x}\n" + RECIPE, b"%YAML 9.9\n---\n" + RECIPE, b"%TAG ! x\n",
                            b"[" * 100_000, b"{a: " * 3000, b"- " * 50_000))  # fmt: skip
    lines = RECIPE.decode().strip().splitlines()
    place = draw.randrange(len(lines))
    section, _, rest = lines[place].partition(": ")
    value = draw.choice(YAML_VALUES)
    if kind < 5 or not rest.startswith("{"):
        lines[place] = f"{section}: {value}"
    else:
        items = [item for item in rest.strip("{}").split(", ") if ":" in item and "[" not in item and "]" not in item]
        if items:
            key = draw.choice(items).partition(":")[0].strip("{ ")
            kept = [item for item in items if not item.startswith(key)]
            lines[place] = f"{section}: {{{', '.join([*kept, f'{key}: {value}'])}}}"
    if kind == 9:
        lines.append(
            draw.choice(("peers", "card", "scenes", "aikd", "regression", "diffusion", "unknown", "1"))
            + f": {draw.choice(YAML_VALUES)}"
        )
    return "\n".join(lines).encode("utf-8", "surrogatepass")


JOURNAL_SETTINGS = {"method": "sharpness"}
JOURNAL_PATHS = ("ann/0.png", "ann/1.png", "bob/0.png")


def journal(draw: random.Random) -> bytes:
    """A journal: torn, of other settings, with rows that make no sense."""
    first = {**JOURNAL_SETTINGS, "rows": 3}
    rows: list[Any] = [{"row": i, "path": path, "value": 0.5} for i, path in enumerate(JOURNAL_PATHS)]
    odd: tuple[Any, ...] = (
        {"row": 9, "path": "x", "value": 1}, {"row": -1, "path": "bob/0.png", "value": 1},
        {"row": "0", "path": "ann/0.png"}, {"path": "ann/0.png"}, {"row": 0}, [], 1, None, "x", {},
        {"row": 0.5, "path": "ann/0.png"},
        {"row": 0, "path": "ann/0.png", "value": "x"}, {"row": 0, "path": "ann/0.png", "value": [1]},
        {"row": 0, "path": "ann/0.png", "error": 5}, {"row": True, "path": "ann/1.png", "value": 1},
        {"row": 10**400, "path": "x"},
        {"row": 0, "path": "ann/0.png", "value": None}, {"row": 0, "path": "ann/0.png", "value": 10**400},
        {"row": 0, "path": "ann/0.png", "error": "", "value": 1},
    )  # fmt: skip
    if draw.random() < 0.6:
        rows.insert(draw.randrange(4), draw.choice(odd))
    head: Any = draw.choice(
        (
            first,
            first,
            first,
            {},
            [],
            1,
            None,
            {"rows": "3"},
            {**first, "x": 1},
            {**first, "rows": 10**400},
            [[1, 2]],
            "x",
        )
    )
    data = b"".join(json.dumps(line).encode() + b"\n" for line in (head, *rows))
    return draw.choice(
        (
            lambda: data,
            lambda: data[: draw.randrange(len(data))],
            lambda: mutate(draw, data)[0],
            lambda: data + b"[" * 100_000 + b"\n",
            lambda: data + b"\xff\n",
            lambda: data.replace(b"0.5", b"NaN"),
            lambda: data + b"1" * 5000 + b"\n",
        )
    )()


def insightface_bin(draw: random.Random) -> bytes:
    """An insightface `.bin`: right, torn, with a pickle that runs code or asks for much."""
    images: list[Any] = [CROP] * draw.choice((2, 4, 4, 3))
    decisions: Any = draw.choice(
        (
            [True, False],
            [1, 0],
            np.array([True, False]),
            (True, False),
            [True],
            [],
            None,
            "ab",
            [None, []],
            np.array([1.5, 2]),
            {0: True, 1: False},
        )
    )
    kind = draw.randrange(9)
    if kind == 0:
        images[draw.randrange(len(images))] = draw.choice(
            (
                b"",
                b"text",
                CROP[:50],
                5,
                None,
                "x",
                [CROP],
                evil(draw),
                np.frombuffer(CROP, np.uint8),
                np.zeros((2, 2)),
                bytearray(CROP),
            )
        )
    content: Any = (images, decisions)
    if kind == 1:
        content = draw.choice(
            (
                images,
                decisions,
                (images,),
                (images, decisions, 3),
                evil(draw),
                [evil(draw), decisions],
                {"a": 1},
                None,
                (evil(draw), evil(draw)),
                ((CROP,) * 4, decisions),
                (iter(()), 0),
            )
        )
    data = pickle.dumps(content, protocol=draw.choice((0, 1, 2, 3, 4, 5)))
    if kind == 2:
        data = data[: draw.randrange(len(data))]
    elif kind == 3:
        data = mutate(draw, data)[0]
    elif (
        kind == 4
    ):  # calls of what the reader knows, with arguments that it does not expect; endless growth; deep nesting
        data = draw.choice((
            b"\x80\x02cnumpy\ndtype\n(I5\ntR.", b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(tR(I1\ntb.",
            b"\x80\x02cnumpy\nndarray\n(I99999999999\ntR.", b"\x80\x02c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
            b"\x80\x02c_codecs\nencode\n(S'x'\nS'zlib'\ntR.", b"(" * 100_000 + b"t" * 100_000 + b".",
            b"]" + b"(" * 1000 + b"0" * 1000 + b".", b"\x80\x04\x95" + b"\xff" * 8 + b".",
            b"\x80\x02X\xff\xff\xff\x7fabc.", b"r\xff\xff\xff\xff.",
            b"\x80\x02]q\0h\0a.", b"cos\nsystem\n(S'touch canary'\ntR.",
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch canary\x85R.",
            b"cbuiltins\ngetattr\n(cos\nsystem\nS'x'\ntR.", b"\x80\x02]r\xff\xff\xff\x7f.",
            b"\x80\x02Nr\xff\xff\xff\x3f.",
            b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".", b"\x80\x02\x8a\x05\xff\xff\xff\xff\x7f.",
            b"I" + b"9" * 5000 + b"\n.", b"\x80\x02U\x04\xff\xfe\xfd\xfc.",
        ))  # fmt: skip
    return data


def archive(draw: random.Random) -> bytes:
    """A `.tar` of a folder of faces: with names that lead elsewhere, links, devices, or torn."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=draw.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    ) as tar:

        def add(name: str, data: bytes = CROP, **more: Any) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data) if member.isreg() else 0
            for key, value in more.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(data))

        for name in ("faces/ann/0.png", "faces/ann/1.png", "faces/bob/0.png"):
            add(name)
        links = ("/etc/passwd", "../../../home/x", "ann/0.png", "faces/self")
        odd: tuple[Callable[[], None], ...] = (
            lambda: None, lambda: add("../outside.png"), lambda: add("/tmp/fiqa-outside.png"),
            lambda: add("faces/../../outside.png"), lambda: add("other/x.png"), lambda: add("faces/ann/0.png"),
            lambda: add("faces/link", type=tarfile.SYMTYPE, linkname=draw.choice(links), size=0),
            lambda: add("faces/hard", type=tarfile.LNKTYPE, linkname=draw.choice(links), size=0),
            lambda: (add("faces/dir", type=tarfile.SYMTYPE, linkname="/tmp", size=0), add("faces/dir/x.png"))[0],
            lambda: add("faces/pipe.png", type=tarfile.FIFOTYPE, size=0),
            lambda: add("faces/null.png", type=tarfile.CHRTYPE, size=0), lambda: add("faces/" + "x" * 90 + "/0.png"),
            lambda: add("faces/ann/0.PNG"), lambda: add("faces/ann/0.jpg"), lambda: add("faces/ann"),
            lambda: add("faces/bad\n.png"), lambda: add("faces/mode.png", mode=0),
            lambda: add("faces/ann/text.png", b"text"), lambda: add("faces/é/1.png"),
            lambda: add("faces", mode=0, type=tarfile.DIRTYPE, size=0),
        )  # fmt: skip
        draw.choice(odd)()
    data = out.getvalue()
    kind = draw.randrange(6)
    if kind == 0:
        data = data[: draw.randrange(len(data))]
    elif kind == 1:
        data = mutate(draw, data)[0]
    elif kind == 2 and draw.random() < 0.3:
        import gzip

        data = gzip.compress(data, 1)
    return data

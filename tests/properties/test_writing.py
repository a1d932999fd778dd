"""Sequences of writes, compared with a model of the folder: new and old files, links, dangling links."""

import json
import os
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import InputError
from sdk.files import LineFile, check_name, check_outputs, read_file, write_file
from tests.support.strategies import MANY, SOME, any_text

NAMES = ("new", "old", "link", "chain", "dangling", "below/deep")
TARGETS = {"link": "old", "chain": "old", "dangling": "elsewhere"}
"""Target of each name that is a link."""

actions = st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=50) | st.text(max_size=20)), max_size=8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("writing")


def prepared(place: Path) -> Path:
    """Make a folder with an old file of mode 640, and links."""
    folder = place / os.urandom(8).hex()
    folder.mkdir()
    (folder / "old").write_bytes(b"before")
    (folder / "old").chmod(0o640)
    (folder / "link").symlink_to("old")
    (folder / "chain").symlink_to(folder / "link")
    (folder / "dangling").symlink_to("elsewhere")
    return folder


@SOME
@given(actions, st.sampled_from([0o022, 0o027, 0o077]))
def test_writes_follow_links_and_keep_rights(place: Path, writes: list[tuple[str, bytes | str]], mask: int) -> None:
    folder, before = prepared(place), os.umask(mask)
    try:
        wanted = {"old": b"before"}
        for name, content in writes:
            write_file(folder / name, content)
            wanted[TARGETS.get(name, name)] = content.encode() if isinstance(content, str) else content
    finally:
        os.umask(before)
    found = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    assert {name: path.read_bytes() for name, path in found.items()} == wanted
    for name, path in found.items():
        assert stat.S_IMODE(path.stat().st_mode) == (0o640 if name == "old" else 0o666 & ~mask)
    assert {path.name for path in folder.iterdir() if path.is_symlink()} == set(TARGETS)


lines = st.binary(max_size=20).map(lambda data: data.replace(b"\n", b""))


@SOME
@given(st.lists(lines, max_size=4), st.binary(max_size=12), st.lists(lines, max_size=4))
def test_lines_stay_whole(place: Path, first: list[bytes], torn: bytes, second: list[bytes]) -> None:
    path = place / os.urandom(8).hex()
    start = b"".join(line + b"\n" for line in first) + torn
    path.write_bytes(start)
    file = LineFile(path)
    for line in second:
        file.write(line + b"\n")
    file.close()
    found = path.read_bytes()
    assert found.endswith(b"".join(line + b"\n" for line in second))
    kept = found[: len(found) - sum(len(line) + 1 for line in second)]
    assert kept in (start, start + b"\n", start[: start.rfind(b"\n") + 1])
    assert not kept or kept.endswith(b"\n")


@SOME
@given(st.dictionaries(st.text("abc", max_size=3), st.integers(), max_size=3), st.integers(0, 100))
def test_a_torn_object_goes_and_a_whole_one_stays(place: Path, values: dict[str, int], cut: int) -> None:
    path, whole = place / os.urandom(8).hex(), json.dumps(values).encode()
    torn = whole[: 1 + cut % len(whole)]
    path.write_bytes(b"{}\n" + torn)
    LineFile(path).close()
    assert path.read_bytes() == b"{}\n" + (whole + b"\n" if torn == whole else b"")


@SOME
@given(
    st.dictionaries(st.sampled_from(["--out", "--report", "--save"]), st.sampled_from(NAMES), min_size=1),
    st.lists(st.sampled_from(NAMES), max_size=2),
)
def test_outputs_are_compared_by_file(place: Path, outputs: dict[str, str], inputs: list[str]) -> None:
    folder = prepared(place)
    files = [TARGETS.get(name, name) for name in outputs.values()]
    clash = len(set(files)) < len(files) or any(TARGETS.get(name, name) in files for name in inputs)
    with pytest.raises(InputError) if clash else nullcontext():
        check_outputs({option: folder / name for option, name in outputs.items()}, [folder / name for name in inputs])


@MANY
@given(any_text)
def test_any_name_is_good_or_refused(place: Path, name: str) -> None:
    try:
        check_name(name)
    except InputError:
        assert "\0" in name or any(0xD800 <= ord(letter) < 0xDC80 or 0xDCFF < ord(letter) <= 0xDFFF for letter in name)
        return
    with pytest.raises(InputError):
        read_file(place / "nothing" / name.lstrip("/"), InputError, "name another", 100)

"""The cache: what is kept is found; without a folder nothing is kept and nothing fails."""

from pathlib import Path

import pytest

from sdk.files import cache


@pytest.mark.parametrize("home", ["none", "unwritable", "a file"])
def test_a_cache_that_cannot_be_used_is_no_cache(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(
        "FIQA_CACHE", {"none": "~nobody-at-all/x", "unwritable": "/proc/x"}.get(home, str(tmp_path / "file"))
    )
    assert cache.keep_in_cache(b"x", "a", "b") is None
    assert cache.find_in_cache("a", "b") is None


def test_what_is_kept_in_the_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "new"))
    assert cache.keep_in_cache(b"x", "a", "b.json") == tmp_path / "new" / "a" / "b.json"
    assert cache.find_in_cache("a", "b.json") == b"x"

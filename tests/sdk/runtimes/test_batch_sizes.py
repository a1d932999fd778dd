"""Batch sizes are learned from real calls and kept; faces of several threads are scored together."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sdk import InputError, ModelError, QualityScorer
from sdk.runtimes.batch_sizes import TRIES, BatchSizes, consecutive_slices, split
from tests.support.tiny_models import faces


def learned(fastest: int, most: int = 8, key: str = "key") -> BatchSizes:
    """Return sizes that have recorded `fastest` as the fastest, except in one disturbed call."""
    sizes = BatchSizes(most, key)
    for turn, size in enumerate(sizes.split(100, 2)[: TRIES * len(sizes.sizes)]):
        sizes.record(size, size * (0.5 if size == fastest else 1.0) * (9 if turn < len(sizes.sizes) else 1))
    return sizes


@pytest.mark.parametrize("most", [1, 2, 6, 8, 64])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 45, 100, 1000])
@pytest.mark.parametrize("callers", [1, 2, 5])
def test_parts_are_the_whole(most: int, count: int, callers: int) -> None:
    parts = BatchSizes(most, "none").split(count, callers)
    assert sum(parts) == count
    assert all(1 <= part <= most for part in parts)
    slices = consecutive_slices(parts)
    assert np.concatenate([np.empty(0, int), *(np.arange(count)[part] for part in slices)]).tolist() == [*range(count)]


@pytest.mark.parametrize(
    ("count", "parts"),
    [
        (0, []), (1, [1]), (2, [2]), (8, [8]), (9, [8, 1]), (16, [8, 8]), (63, [63]), (65, [64, 1]), (32, [32]),
        (72, [64, 8]), (256, [256]), (300, [256, 44]), (1024, [256] * 4), (1030, [*[256] * 4, 6]),
    ],
)  # fmt: skip
def test_parts_where_batches_are_filled_up(count: int, parts: list[int]) -> None:
    assert split(count, (1, 8, 64, 256)) == parts


def test_a_single_size_is_never_exceeded() -> None:
    assert split(70, (32,)) == [32, 32, 6]


def test_the_fastest_size_is_taken_and_kept(own_store: Path) -> None:
    assert learned(4).split(100, 2) == [4] * 25
    assert len(list((own_store / "batches").iterdir())) == 1
    assert BatchSizes(8, "key").split(10, 2) == [4, 4, 2]
    assert BatchSizes(8, "key").split(6, 2) == [3, 3]
    assert BatchSizes(8, "another").split(20, 2) == [8, 8, 4]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"batch": 3}', '{"batch": "4"}', "\udcff"])
def test_a_damaged_choice_is_no_choice(text: str, own_store: Path) -> None:
    (own_store / "batches").mkdir(parents=True)
    (own_store / "batches" / "key.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert BatchSizes(8, "key").split(20, 2) == [8, 8, 4]


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "file"))
    assert learned(2).split(10, 1) == [2] * 5


def test_scores_while_sizes_are_tried(tiny_path: Path, own_store: Path) -> None:
    batch = faces(60)
    with QualityScorer(tiny_path, "cpu", threads=2) as scorer:
        expected = [scorer.score(face) for face in batch]
        np.testing.assert_allclose(scorer.score_batch(batch), expected, rtol=0, atol=1e-6)
        assert len(list((own_store / "batches").glob("*.json"))) == 1
        np.testing.assert_allclose(scorer.score_batch(batch), expected, rtol=0, atol=1e-6)


def test_a_scorer_that_collects(tiny_path: Path) -> None:
    expected = QualityScorer(tiny_path, "cpu").score_batch(faces(30))
    with QualityScorer(tiny_path, "cpu", wait_ms=5) as scorer, ThreadPoolExecutor(8) as pool:
        np.testing.assert_allclose(list(pool.map(scorer.score, faces(30))), expected, rtol=0, atol=1e-5)
    with pytest.raises(ModelError, match="tiny is closed"):
        scorer.score(faces(1)[0])


@pytest.mark.parametrize("wait", [-1, 101, float("nan")])
def test_waits_that_are_refused(wait: float, tiny_path: Path) -> None:
    with pytest.raises(InputError, match="wanted 0 to 100 milliseconds"):
        QualityScorer(tiny_path, wait_ms=wait)


def test_warmup(tiny_path: Path) -> None:
    with QualityScorer(tiny_path, "cpu") as scorer:
        scorer.warmup()
    with pytest.raises(ModelError, match="is closed"):
        scorer.warmup()

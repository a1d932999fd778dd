"""Label optimisation: move the ranks of quality labels towards the ranks of mated similarities.

Babnik, Damer and Štruc, "Optimization-Based Improvement of Face Image Quality Assessment Techniques", IWBF 2023.

Pairs are drawn by index arithmetic, a block of people at a time, and ranked by one sort of 64-bit keys. One thread does
all of it, so the number of cores changes no result.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from sdk.commands.console import progress_bar
from sdk.decision.vectors import Indices, cosines, unit
from sdk.errors import InputError
from sdk.files import write_errors
from train.labelling.embeddings_writer import write_all

logger = logging.getLogger(__name__)

ReadRows = Callable[[Indices], NDArray[np.floating[Any]]]
"""Returns the embeddings (n, D) of rows (n,)."""

BLOCK = 4096
"""Most images in a block. A person's images stay together, so a person with more images makes a larger block."""

SAMPLE_BITS = 32
"""Low bits of a key, which are the number of an image. The high bits are a similarity: so one sort ranks the pairs."""


@dataclass(frozen=True, slots=True)
class OptimisationSettings:
    """Settings of label optimisation. The defaults are the published values.

    Attributes:
        epsilon: Step from the rank of a label towards the mean rank of its mated similarities. It is small because the
            latter is a rank among pairs, and there are up to `clusters - 1` times as many pairs as images.
        iterations: Draws of pairs to average over.
        clusters: Clusters of each person's images; a person with fewer images has one for each.
        seed: Seed of k-means and of the draws.
    """

    epsilon: float = 0.001
    iterations: int = 10
    clusters: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("iterations", 1), ("clusters", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}, wanted {least} or more")
        if not 0 <= self.epsilon <= 1:
            raise InputError(f"epsilon is {self.epsilon}, wanted 0 (labels stay) to 1 (only similarities count)")


def optimise(
    labels: NDArray[np.floating[Any]],
    people: Indices,
    clusters: Indices,
    read: ReadRows,
    settings: OptimisationSettings,
) -> NDArray[np.float64]:
    """Move the ranks of labels towards those of mated similarities, and give the labels to the images in the new order.

    Memory: 8 bytes a pair, that is up to `8 * (clusters - 1)` an image; about 100 bytes an image; and the embeddings of
    a block, see `BLOCK`.

    Args:
        labels: (N,), not NaN. Of equal labels the first one has the lower rank.
        people: int (N,), person of each image.
        clusters: int (N,), cluster of each image among its person's.
        read: Returns embeddings by index into these arrays.
        settings: See `OptimisationSettings`.

    Returns:
        float64 (N,): the same values in another order.
    """
    by_label = np.argsort(labels, kind="stable")
    ranks = np.empty(len(labels), np.int64)
    ranks[by_label] = np.arange(len(labels))
    order = np.lexsort((clusters, people))
    ranks, layout = ranks[order], _Layout.of(people[order], clusters[order])
    mean = np.zeros(len(labels))
    with progress_bar("iterations", settings.iterations * len(labels)) as advance:
        for iteration in range(settings.iterations):
            keys = np.empty(layout.pairs, np.int64)
            rng = np.random.default_rng([settings.seed, iteration])
            done = 0
            for block in layout.blocks():
                a, b = layout.draw(block, rng)
                similarity = cosines(np.stack((a, b), 1) - block.start, read(order[block]))
                lower = np.where(ranks[a] < ranks[b], a, b)
                keys[done : done + len(a)] = _sortable(similarity) << SAMPLE_BITS | lower
                done += len(a)
                advance(block.stop - block.start)
            mean += _mean_ranks(keys, ranks) / settings.iterations
            logger.debug("iteration %d of %d: %d pairs", iteration + 1, settings.iterations, layout.pairs)
    moved = ranks + settings.epsilon * (mean - ranks)
    result = np.empty(len(labels))
    result[order[np.lexsort((ranks, moved))]] = labels[by_label]
    return result


@dataclass(frozen=True, slots=True)
class _Layout:
    """Places of clusters and people among samples (images) that are sorted by person, then by cluster.

    Attributes:
        cluster: int64 (N,), running number of each sample's cluster.
        start: int64 (C + 1,), first sample of each cluster, then N.
        first: int64 (C,), the first cluster of the same person.
        count: int64 (C,), clusters of the same person.
        person_start: int64 (P + 1,), first sample of each person, then N.
    """

    cluster: Indices
    start: Indices
    first: Indices
    count: Indices
    person_start: Indices

    @classmethod
    def of(cls, people: Indices, clusters: Indices) -> "_Layout":
        new_person = np.diff(people, prepend=-1) != 0
        new_cluster = new_person | (np.diff(clusters, prepend=-1) != 0)
        cluster = np.cumsum(new_cluster) - 1
        start = np.append(np.flatnonzero(new_cluster), len(people))
        first_of_person = cluster[new_person]
        per_person = np.diff(np.append(first_of_person, len(start) - 1))
        first, count = (np.repeat(values, per_person) for values in (first_of_person, per_person))
        return cls(cluster, start, first, count, np.append(np.flatnonzero(new_person), len(people)))

    @property
    def pairs(self) -> int:
        """Number of pairs in an iteration: each sample is paired once with each other cluster of its person."""
        return int((np.diff(self.start) * (self.count - 1)).sum())

    def blocks(self) -> Iterator[slice]:
        """Yield blocks of samples: whole people with at most `BLOCK` samples, or one person with more."""
        begin = 0
        while begin < self.person_start[-1]:
            following, fitting = np.searchsorted(self.person_start, [begin, begin + BLOCK], "right") - [0, 1]
            end = int(self.person_start[max(following, fitting)])
            yield slice(begin, end)
            begin = end

    def draw(self, block: slice, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """Draw ordered pairs of samples: `b` is a random sample of each other cluster of `a`'s person.

        No pair is drawn twice, for a person's clusters are disjoint.
        """
        samples = np.arange(block.start, block.stop)
        others = self.count[self.cluster[block]] - 1
        a = np.repeat(samples, others)
        which = np.arange(len(a)) - np.repeat(np.cumsum(others) - others, others)
        own = self.cluster[a]
        other = self.first[own] + (own - self.first[own] + 1 + which) % self.count[own]
        size = self.start[other + 1] - self.start[other]
        return a, self.start[other] + (rng.random(len(a)) * size).astype(np.int64)


def _sortable(similarity: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return 32-bit integers that have the order of the similarities.

    The bits of positive floats, read as integers, are in the order of the floats. Those of negative floats are in the
    reverse order, so all their bits but the sign are inverted.
    """
    bits = similarity.view(np.int32)
    return (bits ^ (bits >> 31 & 0x7FFFFFFF)).astype(np.int64)


def _mean_ranks(keys: NDArray[np.int64], ranks: Indices) -> NDArray[np.float64]:
    """Return the mean rank of each sample's pairs, or its own rank where it has none. Sorts the keys in place."""
    keys.sort()
    sums, counts = np.zeros_like(ranks), np.zeros_like(ranks)
    for start in range(0, len(keys), 1 << 20):
        samples = keys[start : start + (1 << 20)] & ((1 << SAMPLE_BITS) - 1)
        np.add.at(sums, samples, np.arange(start, start + len(samples)))
        counts += np.bincount(samples, minlength=len(ranks))
    return np.where(counts > 0, sums / np.maximum(counts, 1), ranks)


def cluster_people(people: Indices, read: ReadRows, settings: OptimisationSettings, kept: Path) -> Indices:
    """Cluster each person's embeddings, of unit length, by k-means. A person with few images has one cluster for each.

    Args:
        people: int (N,), person of each image, sorted.
        read: Returns embeddings by index into `people`.
        settings: `clusters` and `seed` are used.
        kept: File of the clusters of the people so far, one after the other. A run that was stopped goes on from it.

    Returns:
        int (N,): cluster of each image among its person's.

    Raises:
        InputError: The file is damaged.
        OutputError: The disk is full.
    """
    sizes = np.bincount(people)
    large = sizes > settings.clusters
    images, ends = np.flatnonzero(large[people]), np.append(0, np.cumsum(sizes[large]))
    result = np.arange(len(people))
    with write_errors(kept):
        opened = kept.open("a+b", 0)
    with opened as file, progress_bar("clusters", len(ends) - 1) as advance, threadpool_limits(1):
        file.seek(0)
        found = np.fromfile(file, np.int32)
        done = int(np.searchsorted(ends, len(found), "right")) - 1  # people; the last one may be incomplete
        kept_ones = found[: ends[done]]
        if ((kept_ones < 0) | (kept_ones >= settings.clusters)).any():
            raise InputError(f"{kept} is damaged: it has clusters outside 0 to {settings.clusters - 1}; delete it")
        file.truncate(4 * ends[done])
        result[images[: ends[done]]] = kept_ones
        advance(done)
        for begin, end in pairwise(ends[done:]):
            members = images[begin:end]
            result[members] = labels = _k_means(read(members), settings)
            with write_errors(kept):
                write_all(file, labels.tobytes())
            advance(1)
    return result


def _k_means(vectors: NDArray[np.floating[Any]], settings: OptimisationSettings) -> NDArray[np.int32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # with too few different images there are fewer clusters
        means = KMeans(settings.clusters, n_init=1, random_state=settings.seed)
        return means.fit_predict(unit(vectors)).astype(np.int32)

"""Label optimisation: quality labels of any method, their ranks moved towards the ranks of mated similarities.

Babnik, Damer and Štruc, "Optimization-Based Improvement of Face Image Quality Assessment Techniques", IWBF 2023.

Nothing depends on the order of a manifest's rows: people and images are taken in the order of their names, which also
decides between equal labels. K-means runs on one thread, so the number of cores changes nothing either.
"""

import logging
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from sdk.console import progress_bar
from sdk.errors import InputError
from train.data.embeddings import open_embeddings, read_rows
from train.data.manifest import Manifest, check_table_path, read_manifest, write_table
from train.evaluation.comparisons import Indices, cosines, unit
from train.methods.labelling import Journal
from train.methods.targets import label_column

logger = logging.getLogger(__name__)

ReadRows = Callable[[Indices], NDArray[np.floating[Any]]]
"""Gives the embeddings (n, D) of these rows."""

BLOCK = 4096
"""Images that are worked on at once; a person is not divided, so one with more images makes a larger block."""

SAMPLE_BITS = 32
"""Low bits of a key, the number of a sample; the high ones are a similarity, so that one sort ranks the pairs."""


@dataclass(frozen=True, slots=True)
class OptimisationSettings:
    """The published values.

    Attributes:
        epsilon: Step from the label's rank towards the mean rank of mated similarities. It is small because that
            rank counts pairs, of which there are up to `clusters - 1` times as many as images.
        iterations: Draws of pairs that are averaged.
        clusters: Of each person; as many as images where there are fewer.
        seed: Of k-means and of the draws.
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
            raise InputError(f"epsilon is {self.epsilon}, wanted 0 (labels stay) to 1 (similarities alone decide)")


def optimise_manifest(
    source: Path, label: str, embeddings: Path, out: Path, settings: OptimisationSettings, name: str | None = None
) -> pa.Table:
    """Add a column of optimised labels to a labelled manifest.

    Rows without a label stay without one and have no part in the rest. A person's only image has no mated pair, so it
    keeps its rank. K-means is kept in a journal beside the output until that is written, so a run that was
    interrupted continues there.

    Args:
        source: Labelled manifest.
        label: Column, or several by commas, see `train.methods.targets.label_column`.
        embeddings: `.npy` (N, D), a row a row of the manifest.
        out: `.csv` or `.parquet` to write; may be the source.
        settings: See `OptimisationSettings`.
        name: Of the new column, `<label>-optimised` by default; a column of that name is replaced.

    Returns:
        The table that was written.

    Raises:
        InputError: Labels or embeddings are missing or all equal, an image has no identity, nobody has two images, or
            the journal is of another run.
    """
    check_table_path(out)
    manifest = read_manifest(source)
    open_embeddings(embeddings, manifest, source)
    labels = label_column(manifest, label)
    name = name or f"{label.replace(',', '+')}-optimised"
    rows = _rows_by_name(manifest, ~np.isnan(labels))
    people = _people(manifest, rows)
    read = partial(read_rows, embeddings)
    contents = _check_embeddings(manifest, rows, read)
    decides = {"labeller": name, "clusters": settings.clusters, "seed": settings.seed, "images": len(rows)}
    decides["contents"] = zlib.crc32(people.tobytes(), contents)
    journal = Journal(out, decides, None, len(rows))
    clusters = cluster_people(people, lambda chosen: read(rows[chosen]), settings, journal)
    logger.info("%d images of %d people are clustered", len(rows), people[-1] + 1)
    improved = np.full(len(labels), np.nan)
    improved[rows] = optimise(labels[rows], people, clusters, lambda chosen: read(rows[chosen]), settings)
    others = manifest.table.select([column for column in manifest.table.column_names if column != name])
    table = others.append_column(name, pa.array(improved, from_pandas=True))
    write_table(table, out)
    journal.remove()
    return table


def optimise(
    labels: NDArray[np.floating[Any]],
    people: Indices,
    clusters: Indices,
    read: ReadRows,
    settings: OptimisationSettings,
) -> NDArray[np.float64]:
    """Hand the labels out anew, by ranks that have moved towards those of mated similarities.

    Needs 8 bytes a pair, so up to `8 * (clusters - 1)` an image, about 100 bytes an image besides, and the embeddings
    of `BLOCK` images or of the person who has more.

    Args:
        labels: (N,), not NaN; their order decides between equal ones.
        people: int (N,), person of each image.
        clusters: int (N,), cluster of each image among its person's.
        read: Embeddings by index into these arrays.
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
                similarity = cosines(a - block.start, b - block.start, read(order[block]))
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
    """Where clusters and people are among samples that are sorted by person, then by cluster.

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
        """Pairs of an iteration: a sample with each other cluster of its person."""
        return int((np.diff(self.start) * (self.count - 1)).sum())

    def blocks(self) -> Iterator[slice]:
        """Samples of whole people, at most `BLOCK` of them, or one person with more."""
        begin = 0
        while begin < self.person_start[-1]:
            following, fitting = np.searchsorted(self.person_start, [begin, begin + BLOCK], "right") - [0, 1]
            end = int(self.person_start[max(following, fitting)])
            yield slice(begin, end)
            begin = end

    def draw(self, block: slice, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """Ordered pairs of samples, `b` a random one of each other cluster of `a`'s person.

        No pair comes twice, for a person's clusters are disjoint.
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
    """Integers of 32 bits in the order of the numbers: a float's bits, all but the sign inverted below zero."""
    bits = similarity.view(np.int32)
    return (bits ^ (bits >> 31 & 0x7FFFFFFF)).astype(np.int64)


def _mean_ranks(keys: NDArray[np.int64], ranks: Indices) -> NDArray[np.float64]:
    """Mean rank of the pairs that count for each sample; its own rank where there is none. Sorts the keys in place."""
    keys.sort()
    sums, counts = np.zeros_like(ranks), np.zeros_like(ranks)
    for start in range(0, len(keys), 1 << 20):
        samples = keys[start : start + (1 << 20)] & ((1 << SAMPLE_BITS) - 1)
        np.add.at(sums, samples, np.arange(start, start + len(samples)))
        counts += np.bincount(samples, minlength=len(ranks))
    return np.where(counts > 0, sums / np.maximum(counts, 1), ranks)


def cluster_people(people: Indices, read: ReadRows, settings: OptimisationSettings, journal: Journal) -> Indices:
    """K-means over each person's images of unit length; where there are too few, each image is a cluster.

    Args:
        people: int (N,), sorted.
        read: Embeddings by index into it.
        settings: `clusters` and `seed` are used.
        journal: Takes each person's clusters, and gives those of an earlier run.

    Returns:
        int (N,): cluster of each image among its person's.
    """
    starts = np.append(np.flatnonzero(np.diff(people, prepend=-1)), len(people))
    result = np.arange(len(people))
    large = np.flatnonzero(np.diff(starts) > settings.clusters)
    with journal, progress_bar("clusters", len(large)) as advance, threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different images than clusters: fewer clusters
        for person in large.tolist():
            members = np.arange(starts[person], starts[person + 1])
            if person not in journal.rows:
                means = KMeans(settings.clusters, n_init=1, random_state=settings.seed)
                journal.add({"row": person, "value": means.fit_predict(unit(read(members))).tolist()})
                journal.flush()
            result[members] = journal.rows[person]["value"]
            advance(1)
    return result


def _rows_by_name(manifest: Manifest, labelled: NDArray[np.bool_]) -> Indices:
    """Rows with a label, ordered by identity, then by path."""
    keys = [("identity", "ascending"), ("path", "ascending")]
    rows = pc.sort_indices(manifest.table, sort_keys=keys).to_numpy().astype(np.int64)
    return rows[labelled[rows]]


def _people(manifest: Manifest, rows: Indices) -> Indices:
    """Person of each row as a number that rises along the rows, which are sorted by identity."""
    identities = manifest.table["identity"].combine_chunks()
    nameless = np.asarray(pc.fill_null(pc.equal(identities, ""), True))[rows]
    if nameless.any():
        first = manifest.table["path"][int(rows[nameless][0])]
        raise InputError(f"{nameless.sum()} of {len(rows)} images have no identity, such as {first}; name or drop them")
    codes = identities.dictionary_encode().indices.to_numpy()[rows]
    people = np.cumsum(np.diff(codes, prepend=codes[0]) != 0)
    if people[-1] == len(people) - 1:
        raise InputError(
            f"none of {len(people)} people has two images, so there is no mated pair; give images of the same people"
        )
    return people


def _check_embeddings(manifest: Manifest, rows: Indices, read: ReadRows) -> int:
    """Refuse missing embeddings; the checksum of all."""
    checksum, missing = 0, []
    with progress_bar("embeddings", len(rows)) as advance:
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            vectors = read(block)
            missing.append(block[~np.isfinite(vectors).all(axis=1)])
            checksum = zlib.crc32(vectors.tobytes(), checksum)
            advance(len(block))
    without = np.concatenate(missing)
    if len(without):
        raise InputError(
            f"{len(without)} of {len(rows)} labelled images have no embedding, such as "
            f"{manifest.table['path'][int(without[0])]}; drop their rows, or label again with --embeddings"
        )
    return checksum

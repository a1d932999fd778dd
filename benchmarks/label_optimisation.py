"""Label optimisation at the size of VGGFace2: time and memory of the command, on synthetic labels and embeddings.

    python benchmarks/label_optimisation.py --folder FOLDER [--images 3300000] [--people 9000] [--dimension 512]

The embeddings are float32, as `fiqa-train label` writes them: 512 numbers of 3.3 million images take 6.8 GB of disk,
`--dimension 128` a quarter. Files that are there from an earlier run are used again.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from train.data.manifest import write_table

SPREAD = 1.2
"""Length of an image's deviation from its person, whose own vector has length 1: mated cosines of about 0.4."""


def person_sizes(images: int, people: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Images of each person: a quarter to seven quarters of the mean."""
    ends = np.cumsum(rng.uniform(0.25, 1.75, people))
    return np.diff((ends / ends[-1] * images).round().astype(np.int64), prepend=0)


def make_files(folder: Path, images: int, people: int, dimension: int) -> tuple[Path, Path]:
    """Labels (Parquet) and embeddings (.npy) of so many people."""
    folder.mkdir(parents=True, exist_ok=True)
    labels, embeddings = folder / f"labels-{images}.parquet", folder / f"embeddings-{images}-{dimension}.npy"
    rng = np.random.default_rng(0)
    sizes = person_sizes(images, people, rng)
    if not labels.exists():
        identities = np.repeat([f"n{person:06}" for person in range(people)], sizes)
        paths = [f"{identity}/{index:07}.jpg" for index, identity in enumerate(identities)]
        write_table(pa.table({"path": paths, "identity": identities, "faceqan": rng.random(images)}), labels)
    if not embeddings.exists():
        partial = embeddings.with_suffix(".tmp")
        array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=(images, dimension))
        start = 0
        for size in sizes:
            noise = rng.standard_normal((size + 1, dimension), np.float32) / np.float32(dimension**0.5)
            array[start : start + size] = noise[0] + np.float32(SPREAD) * noise[1:]
            start += size
        array.flush()
        partial.rename(embeddings)
    return labels, embeddings


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=3_300_000)
    parser.add_argument("--people", type=int, default=9000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=10)
    options = parser.parse_args()
    # In a process of its own: a command inherits the peak of the one that starts it.
    with ProcessPoolExecutor(1) as pool:
        size = (options.images, options.people, options.dimension)
        labels, embeddings = pool.submit(make_files, options.folder, *size).result()
    out = options.folder / "optimised.parquet"
    command = [sys.executable, "-m", "train.cli", "--verbose", "label", "optimise", str(labels), "--label", "faceqan"]
    command += ["--embeddings", str(embeddings), "--out", str(out), "--iterations", str(options.iterations)]
    start = time.perf_counter()
    _, status, usage = os.wait4(subprocess.Popen(command).pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit("the command failed")
    print(f"{options.images} images of {options.people} people, {options.dimension} numbers each, 20 clusters")
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{seconds:.0f} s, of them {cpu:.0f} s of CPU; peak {usage.ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()

"""Resident memory of `fiqa score` against the number of files: `python benchmarks/memory_of_scoring.py`.

Crops are hard links to files of noise, and the model has four layers, so that Python's share is measured and not
the network's. Every run is a process of its own. Prints a table: peak resident memory in MB, and what a file costs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.tiny_models import tiny_card, tiny_model

DIFFERENT = 100
A_FOLDER = 10_000
RUNS = {
    "CSV": ("csv",),
    "CSV, resumed from its half": ("csv", "--resume"),
    "CSV and page": ("csv", "--report", "r.html"),
    "Parquet": ("parquet",),
    "JSON Lines": ("jsonl",),
}
MEASURED = """
import resource, sys
from sdk.commands.app import app
try:
    app()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def make_crops(folder: Path, count: int) -> Path:
    """Make links to crops, so many in a folder."""
    rng = np.random.default_rng(0)
    originals = folder / "originals"
    originals.mkdir(exist_ok=True)
    for index in range(DIFFERENT):
        cv2.imwrite(str(originals / f"{index}.jpg"), rng.integers(0, 256, (112, 112, 3), np.uint8))
    crops = folder / f"crops-{count}"
    for index in range(count):
        path = crops / f"{index // A_FOLDER:03}" / f"{index:07}.jpg"
        if index % A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        os.link(originals / f"{index % DIFFERENT}.jpg", path)
    return crops


def measure(folder: Path, crops: Path, out: Path, options: tuple[str, ...]) -> float:
    """Score once; returns the largest resident memory in MB."""
    command = ["score", str(crops), "--aligned", "--model", "tiny.onnx", "--out", str(out), *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], cwd=folder, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return int(done.stdout.split()[-1]) / 1024


def main() -> None:
    """Measure every kind of output on every number of files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 20_000, 200_000])
    parser.add_argument("--work", type=Path, help="Folder for crops and tables; a temporary one where left out.")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=settings.work) as name:
        folder = Path(name)
        onnx.save(tiny_model(tiny_card()), folder / "tiny.onnx")
        crops = {count: make_crops(folder, count) for count in settings.counts}
        print("| output | " + " | ".join(f"{count:,} files" for count in crops) + " | a file more |")
        print("| --- |" + " --- |" * (len(crops) + 1))
        for kind, (suffix, *options) in RUNS.items():
            used = {}
            for count, place in crops.items():
                table = folder / f"{count}.{suffix}"
                if "--resume" in options:
                    os.truncate(table, table.stat().st_size // 2)  # in the middle of a line, as a killed run may
                used[count] = measure(folder, place, table, tuple(options))
            first, last = min(used), max(used)
            slope = (used[last] - used[first]) * 1024**2 / max(last - first, 1)
            cells = " | ".join(f"{value:.0f} MB" for value in used.values())
            print(f"| {kind} | {cells} | {slope:.0f} bytes |", flush=True)


if __name__ == "__main__":
    main()

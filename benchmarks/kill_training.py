"""Kill label, embed and fit at random moments; the same command must go on, and end with the same bytes.

python benchmarks/kill_training.py [--kills 20] [--seed 0]

The data are made here: noise for faces, random weights for networks. Each run is a forked process, so that a kill falls
into its work and not into the loading of its libraries. Prints a Markdown table; exit code 1 when a byte differs.
"""

import argparse
import logging
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

# Loaded here, once: the forked processes then start with their work.
from train.cli import app
from train.networks import create_network, save_network

RECIPE = "network: fiqa-nano\nregression: {label: sharpness}\ntraining: {epochs: 2, batch_size: 4, save_every: 1}\n"
PEOPLE, IMAGES = 4, 5


@dataclass(frozen=True, slots=True)
class Job:
    """A command and the files that it must end with; `{out}` is a folder of the run."""

    name: str
    words: tuple[str, ...]
    files: tuple[str, ...]


JOBS = (
    Job(
        "label",
        ("label", "faceqan", "faces", "--out", "{out}/l.csv", "--weights", "teacher.safetensors", "--k", "2", "--batch",
         "2", "--callers", "2", "--embeddings", "{out}/e.npy"),
        ("l.csv", "e.npy"),
    ),
    Job(
        "embed",
        ("embed", "faces", "--out", "{out}/e.npy", "--weights", "teacher.safetensors", "--batch", "1"),
        ("e.npy",),
    ),
    Job(
        "fit",
        ("fit", "regression", "recipe.yaml", "--labels", "faces.csv", "--backbone", "teacher.safetensors",
         "--out", "{out}"),
        ("best.safetensors", "last.safetensors", "history.json"),
    ),
)  # fmt: skip


def main() -> int:
    """Run the kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of each command")
    parser.add_argument("--seed", type=int, default=0, help="of data and moments")
    options = parser.parse_args()
    torch.set_num_threads(1)  # sums over several threads differ in their last bits
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="kill-training-") as folder:
        os.chdir(folder)
        make_data(options.seed)
        print("| command | kills in its work | ended with the same bytes |\n|---|---|---|", flush=True)
        counts = [(job, *kill(job, options.kills, chance)) for job in JOBS]
        os.chdir("/")
    return int(any(same < options.kills for _, _, same in counts))


def make_data(seed: int) -> None:
    """Write faces, their labels, a teacher and a recipe into the current folder."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    lines = ["path,identity,sharpness"]
    for person in range(PEOPLE):
        for image in range(IMAGES):
            path = Path(f"faces/p{person}/{image}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 256, (112, 112, 3), np.uint8))
            lines.append(f"{path},p{person},{rng.random():.6f}")
    Path("faces.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    Path("recipe.yaml").write_text(RECIPE, encoding="utf-8")
    save_network(create_network("mobilefacenet128"), Path("teacher.safetensors"))


def kill(job: Job, kills: int, chance: random.Random) -> tuple[int, int]:
    """Kill a command so often, each time in a folder of its own, and compare what it ends with.

    Returns:
        How often it was killed before its end; how often it ended as without a kill.
    """
    begin = time.monotonic()
    wait(start(job, Path("whole")))
    whole, seconds = read(job, Path("whole")), time.monotonic() - begin
    hit = same = 0
    for number in range(kills):
        out = Path(f"run-{number}")
        process = start(job, out)
        process.join(chance.uniform(0.02, 1) * seconds)
        if process.is_alive():
            hit += 1
            os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        wait(start(job, out))
        same += read(job, out) == whole
        shutil.rmtree(out)
    shutil.rmtree("whole")
    print(f"| {job.name} | {hit} of {kills} | {same} |", flush=True)
    return hit, same


def start(job: Job, out: Path) -> multiprocessing.Process:
    """Start a command in a process of its own."""
    process = multiprocessing.get_context("fork").Process(target=run, args=(job, out))
    process.start()
    return process  # type: ignore[return-value]


def run(job: Job, out: Path) -> None:
    """Run a command in this process, and end it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    logging.disable()
    app([word.format(out=out) for word in job.words])


def wait(process: multiprocessing.Process) -> None:
    """Wait for a command that must succeed."""
    process.join()
    if process.exitcode:
        raise SystemExit(f"a command ended with exit code {process.exitcode}")


def read(job: Job, out: Path) -> list[bytes]:
    """Read what a command has written; and say what it left behind."""
    if left := [path.name for path in out.rglob("*") if path.suffix in (".part", ".journal", ".lock")]:
        raise SystemExit(f"{job.name} left {', '.join(left)}")
    return [(out / name).read_bytes() for name in job.files]


if __name__ == "__main__":
    raise SystemExit(main())

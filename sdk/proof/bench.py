"""Measure model files on this machine, on several devices, with several batches and numbers of threads."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sdk.errors import InputError
from sdk.files import write_errors
from sdk.models.loading import Model, load_model
from sdk.proof.bench_process import Configuration, Worker
from sdk.proof.verify import Faces, compare_scores, find_failures


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of a configuration: one row of the table.

    Attributes:
        model: File, or name in the catalogue.
        network: Name on its card.
        format: Of the file.
        device: Where it ran.
        precision: What it was computed in.
        batch: Faces a call.
        threads: Callers at once.
        size: Bytes of the file.
        p50: Milliseconds of a call: half of the calls took no longer.
        p95: The same for 95 %.
        p99: The same for 99 %.
        faces_per_second: Median of the rounds.
        memory: Peak resident bytes of the process; None where unknown.
        ratio: Median of the rounds' ratios to the fp32 file of the same network, device `cpu` where there is one, with
            the same batch and threads; None without one.
        largest: Largest difference from the fp32 scores; None without them.
        spearman: Rank correlation with them.
        failure: Why it could not be measured, or why its scores are no proof; empty where all is well.
    """

    model: str
    network: str
    format: str
    device: str
    precision: str
    batch: int
    threads: int
    size: int
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    faces_per_second: float | None = None
    memory: int | None = None
    ratio: float | None = None
    largest: float | None = None
    spearman: float | None = None
    failure: str = ""


def measure(
    configurations: Sequence[Configuration],
    faces: Faces,
    *,
    rounds: int,
    seconds: float,
    are_faces: bool,
    trust: bool = False,
    advance: Callable[[int], None] = lambda steps: None,
) -> list[Measured]:
    """Measure configurations in turns, round by round, so that other work on the machine slows all alike.

    Args:
        configurations: What to measure; each runs in a process of its own, which sleeps while others are measured.
        faces: uint8 (N, 112, 112, 3), N >= 2.
        rounds: Number of times that each is measured.
        seconds: Seconds of each measurement.
        are_faces: Whether these are real faces, so that scores of them prove something.
        trust: See `QualityScorer`.
        advance: Called with 1 after every step; there are `len(configurations) * (rounds + 1)`.

    Raises:
        ModelError: A model cannot be loaded at all.
    """
    models = {
        name: load_model(name, task="quality", trust=trust) for name in dict.fromkeys(c.model for c in configurations)
    }
    with ExitStack() as stack:
        with write_errors(Path(tempfile.gettempdir())):
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "faces.npy"
            np.save(path, faces)
        workers = []
        for configuration in configurations:
            workers.append(Worker(configuration, path, trust))
            stack.callback(workers[-1].close)
            advance(1)
        for _ in range(rounds):
            for worker in workers:
                if not worker.error:
                    worker.measure(seconds)
                advance(1)
    names = {name: model.card.name for name, model in models.items()}
    return [
        _measured(worker, _reference(worker, workers, names), models[worker.configuration.model], are_faces)
        for worker in workers
    ]


def _reference(worker: Worker, workers: Sequence[Worker], names: dict[str, str]) -> Worker | None:
    """Return the fp32 worker to compare with: of the same network, best with the same batch and threads, on the CPU."""
    own = worker.configuration

    def distance(other: Worker) -> tuple[bool, bool, bool]:
        its = other.configuration
        return its.threads != own.threads, its.batch != own.batch, other.device != "cpu"

    same = [
        other
        for other in workers
        if names[other.configuration.model] == names[own.model] and other.precision == "fp32" and not other.error
    ]
    return min(same, key=distance, default=None)


def _measured(worker: Worker, reference: Worker | None, model: Model, are_faces: bool) -> Measured:
    own = worker.configuration
    row: dict[str, Any] = {
        "model": own.model, "network": model.card.name, "format": model.card.format, "device": worker.device,
        "precision": worker.precision or own.precision or "", "batch": own.batch, "threads": own.threads,
        "size": len(model.data) + len(model.weights),
    }  # fmt: skip
    if worker.error or not worker.rates or worker.scores is None:
        return Measured(**row, failure=worker.error or "nothing was measured")
    row |= dict(zip(("p50", "p95", "p99"), (1000 * np.percentile(worker.calls, (50, 95, 99))).tolist(), strict=True))
    row |= {"faces_per_second": median(worker.rates), "memory": worker.memory}
    if reference is None or reference.scores is None:
        return Measured(**row, failure="no fp32 file of this network to compare with")
    found = compare_scores(worker.scores, reference.scores)
    same = (reference.configuration.threads, reference.configuration.batch) == (own.threads, own.batch)
    if same:
        row["ratio"] = median(a / b for a, b in zip(worker.rates, reference.rates, strict=False))
    failures = find_failures(found, worker.precision)
    if not are_faces and found.finite and worker.precision != "fp32":
        failures = ("no faces were given, so its scores are unproven",)
    if found.finite:
        row |= {"largest": found.largest, "spearman": found.spearman}
    return Measured(**row, failure="; ".join(failures))


def rate(row: Measured) -> float:
    """Return the faces per second; 0 where it could not be measured."""
    return row.faces_per_second or 0.0


def numbers(text: str, what: str) -> list[int]:
    """Read numbers that are separated by commas: `1,8` gives [1, 8].

    Raises:
        InputError: It is not a list of positive numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 7 and int(part) > 0 for part in parts):
        raise InputError(f"{what} is {text!r}, wanted positive numbers below a million, such as 1,8")
    return sorted({int(part) for part in parts})

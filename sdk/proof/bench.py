"""`fiqa bench`: which file, device, batch and number of threads is the fastest here that still scores as fp32 does."""

import csv
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sdk.errors import InputError
from sdk.files import write_errors, write_file
from sdk.models.loading import Model, load_model
from sdk.proof.verify import Faces, Scores, compare_scores, find_failures
from sdk.text import csv_field

MARGIN = 1.05
"""How many times as fast as fp32 another precision must be to be recommended."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is measured.

    Attributes:
        model: File, or name in the catalogue.
        device: See `QualityScorer`.
        precision: `bf16`, or None for the file's own.
        batch: Faces a call.
        threads: Callers at once.
    """

    model: str
    device: str
    precision: str | None
    batch: int
    threads: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One line of the table.

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


class Worker:
    """A process that holds one configuration (`sdk.proof.bench_worker`)."""

    def __init__(self, configuration: Configuration, faces: Path, trust: bool) -> None:
        self.configuration = configuration
        self.rates: list[float] = []
        self.calls: list[float] = []
        self.memory: int | None = None
        self.scores: Scores | None = None
        command = [sys.executable, "-m", "sdk.proof.bench_worker"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        work = {name: getattr(configuration, name) for name in ("model", "device", "precision", "batch", "threads")}
        first = self._ask({**work, "faces": str(faces), "trust": trust})
        self.error: str = first.get("error", "")
        self.device, self.precision = first.get("device", configuration.device), first.get("precision", "")
        if not self.error:
            self.scores = np.array(first["scores"], np.float32)

    def measure(self, seconds: float) -> None:
        """Call the model for so long."""
        found = self._ask(seconds)
        if "error" in found:
            self.error = found["error"]
            return
        self.calls += found["calls"]
        self.rates.append(self.configuration.batch * len(found["calls"]) / found["wall"])
        self.memory = found["memory"]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, question: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        return {"error": f"the process ended with exit code {self._process.wait()}; `fiqa -v score` shows more"}


def measure(
    configurations: Sequence[Configuration],
    faces: Faces,
    *,
    rounds: int,
    seconds: float,
    real: bool,
    trust: bool = False,
    advance: Callable[[int], None] = lambda steps: None,
) -> list[Measured]:
    """Measure configurations in interleaved rounds, so that other work on the machine hits all alike.

    Args:
        configurations: What to measure; each runs in a process of its own, which sleeps while others are measured.
        faces: uint8 (N, 112, 112, 3), N >= 2.
        rounds: How often each is measured.
        seconds: How long, each time.
        real: Whether these are faces, so that scores on them prove something.
        trust: See `QualityScorer`.
        advance: Told of every step; there are `len(configurations) * (rounds + 1)`.

    Raises:
        ModelError: A model cannot be loaded at all.
    """
    models = {name: load_model(name, trust=trust) for name in dict.fromkeys(c.model for c in configurations)}
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
        _measured(worker, _reference(worker, workers, names), models[worker.configuration.model], real)
        for worker in workers
    ]


def _reference(worker: Worker, workers: Sequence[Worker], names: dict[str, str]) -> Worker | None:
    """The fp32 worker to compare with: of the same network, with the same batch and threads first, on the CPU first."""
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


def _measured(worker: Worker, reference: Worker | None, model: Model, real: bool) -> Measured:
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
    if not real and found.finite and worker.precision != "fp32":
        failures = ("no faces were given, so its scores are unproven",)
    if found.finite:
        row |= {"largest": found.largest, "spearman": found.spearman}
    return Measured(**row, failure="; ".join(failures))


def recommend(measured: Sequence[Measured], network: str) -> tuple[Measured, str] | None:
    """The configuration of a network that scores most faces a second, and why; None where none may be taken.

    None that failed its proof; another precision than fp32 only where it is faster by `MARGIN`.
    """
    good = [row for row in measured if row.network == network and not row.failure and row.faces_per_second]
    plain = max((row for row in good if row.precision == "fp32"), key=_rate, default=None)
    best = max(good, key=_rate, default=None)
    if best is None or plain is None:
        return None
    gain = _rate(best) / _rate(plain)
    if best.precision != "fp32" and gain < MARGIN:
        best, gain = plain, 1.0
    left = [row for row in measured if row.network == network and row.failure and row.faces_per_second]
    why = f"{_rate(best):.0f} faces/s"
    if best is plain:
        others = sorted({row.precision for row in good if row.precision != "fp32"})
        why += ", the most in fp32" + (f"; {', '.join(others)}: not faster" if others else "")
    else:
        why += f", {gain:.2f} times the best of fp32, with Spearman {best.spearman:.4f}, difference {best.largest:.1e}"
    if left:
        why += f"; not considered: {', '.join(sorted({f'{row.precision} on {row.device}' for row in left}))} (unproven)"
    return best, why


def _rate(row: Measured) -> float:
    return row.faces_per_second or 0.0


def write_csv(path: Path, measured: Sequence[Measured]) -> None:
    """Write all lines, one column an attribute of `Measured`."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(field.name for field in fields(Measured))
    for row in measured:
        values = asdict(row)
        values["model"] = csv_field(row.model, "./")
        writer.writerow(csv_field(value) if isinstance(value, str) else value for value in values.values())
    write_file(path, text.getvalue().encode())


def write_plot(path: Path, measured: Sequence[Measured]) -> None:
    """Write bars of faces a second as SVG, which every browser shows; those without a proof are grey."""
    rows = sorted((row for row in measured if row.faces_per_second), key=_rate, reverse=True)
    longest, step, left, width = max(map(_rate, rows), default=1.0), 26, 430, 420
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{step * len(rows) + 40}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="20">faces a second; grey: scores unproven or beyond the tolerance</text>',
    ]
    for index, row in enumerate(rows):
        top, long = 32 + step * index, width * _rate(row) / longest
        name = f"{Path(row.model).name}, {row.precision}, {row.device}, batch {row.batch}, {row.threads} threads"
        lines += [
            f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{top}" width="{long:.1f}" height="{step - 8}" '
            f'fill="{"#bbbbbb" if row.failure else "#2a6f97"}"/>',
            f'<text x="{left + long + 6:.1f}" y="{top + 14}">{_rate(row):.0f}</text>',
        ]
    text = "\n".join([*lines, "</svg>\n"])
    write_file(path, text)


def numbers(text: str, what: str) -> list[int]:
    """`1,8` -> [1, 8].

    Raises:
        InputError: It is not a list of positive numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 7 and int(part) > 0 for part in parts):
        raise InputError(f"{what} is {text!r}, wanted positive numbers below a million, such as 1,8")
    return sorted({int(part) for part in parts})

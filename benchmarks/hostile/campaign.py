"""Hands inputs to workers, replaces those that die or hang, and counts."""

import multiprocessing
import shutil
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any

from hostile.worker import Outcome, draw_input, seconds_of, serve

MOST_SECONDS, MOST_MEGABYTES = 5.0, 700
"""What is promised of any input."""

PATIENCE = 30.0
"""Seconds after which a worker is killed."""

START = 120.0
"""Seconds that a worker may take for its imports."""

KEPT = 3
"""Inputs that are kept of each fault."""


@dataclass
class Worker:
    """A process, and what it is at."""

    process: Any
    pipe: connection.Connection
    folder: Path
    task: int | str | None = None
    since: float = 0.0


@dataclass
class Tally:
    """What became of a kind's inputs."""

    kind: str
    inputs: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[int | str]] = field(default_factory=lambda: defaultdict(list))
    examples: dict[str, str] = field(default_factory=dict)
    most_megabytes: tuple[int, int | str] = (0, "")
    most_seconds: tuple[float, int | str] = (0.0, "")


class Campaign:
    """All inputs of one kind.

    Args:
        kind: `images`, `models` or `tables`.
        seed: Of all inputs.
        workers: Processes.
        folder: Where workers write, and inputs are kept.
    """

    def __init__(self, kind: str, seed: int, workers: int, folder: Path) -> None:
        self.kind, self.seed, self.count, self.folder = kind, seed, workers, folder
        self._started = 0
        self._context = multiprocessing.get_context("spawn")

    def run(self, tasks: Iterator[int | str]) -> Tally:
        """Try inputs: numbers, or paths of kept ones."""
        tally, start = Tally(self.kind), time.monotonic()
        workers = [self._start() for _ in range(self.count)]
        try:
            while sum(self._give(worker, tasks) for worker in workers):
                connection.wait([worker.pipe for worker in workers if worker.task is not None], 1)
                for number, worker in enumerate(workers):
                    outcome = self._outcome(worker)
                    if outcome is None:
                        continue
                    task, worker.task = worker.task, None
                    self._count(tally, task, self._judge(task, outcome))
                    if outcome.tired:
                        self._stop(worker)
                        workers[number] = self._start()
        finally:
            for worker in workers:
                self._stop(worker)
        tally.seconds = time.monotonic() - start
        return tally

    def _start(self) -> Worker:
        folder = self.folder / f"worker-{self.kind}-{self._started}"
        self._started += 1
        folder.mkdir(parents=True)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=serve, args=(theirs, self.kind, self.seed, folder), daemon=True)
        process.start()
        theirs.close()
        worker = Worker(process, ours, folder)
        if not ours.poll(START) or ours.recv() != "ready":
            raise SystemExit(f"a worker for {self.kind} does not start; see {folder / 'stderr'}")
        return worker

    def _stop(self, worker: Worker) -> None:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()

    def _give(self, worker: Worker, tasks: Iterator[int | str]) -> bool:
        """Give a worker something to do; False when it has nothing."""
        if worker.task is None:
            worker.task, worker.since = next(tasks, None), seconds_of(worker.process.pid)
            if worker.task is not None:
                worker.pipe.send(worker.task)
        return worker.task is not None

    def _outcome(self, worker: Worker) -> Outcome | None:
        """What a worker says; None where it says nothing yet."""
        if worker.task is None:
            return None
        try:
            if worker.pipe.poll():
                found: Outcome = worker.pipe.recv()
                return found
        except (EOFError, OSError):
            worker.process.join()
            code = worker.process.exitcode or 0
            if code >= 0:
                said = (worker.folder / "stderr").read_text(errors="replace")[-1000:]
                raise SystemExit(f"the campaign itself failed at {self.kind} {worker.task}: {said}") from None
            return Outcome(f"crash: {signal.Signals(-code).name}", True, tired=True)
        if seconds_of(worker.process.pid) - worker.since > PATIENCE:
            return Outcome(f"over {PATIENCE:.0f} s", True, seconds=PATIENCE, tired=True)
        return None

    def _judge(self, task: int | str, outcome: Outcome) -> Outcome:
        """Compare with what is promised. What took too long is tried once more, in a new worker: it may have
        been the machine."""
        if outcome.seconds > MOST_SECONDS:
            worker = self._start()
            worker.task, worker.since = task, seconds_of(worker.process.pid)
            worker.pipe.send(task)
            again = None
            while again is None:
                worker.pipe.poll(1)
                again = self._outcome(worker)
            self._stop(worker)
            outcome = again if again.seconds < outcome.seconds else outcome
        if not outcome.wrong and outcome.seconds > MOST_SECONDS:
            return outcome._replace(name=f"over {MOST_SECONDS:.0f} s", wrong=True, detail=outcome.name)
        if not outcome.wrong and outcome.megabytes > MOST_MEGABYTES:
            return outcome._replace(name=f"over {MOST_MEGABYTES} MB", wrong=True, detail=outcome.name)
        return outcome

    def _count(self, tally: Tally, task: int | str, outcome: Outcome) -> None:
        tally.inputs += 1
        tally.outcomes[f"WRONG: {outcome.name}" if outcome.wrong else outcome.name] += 1
        tally.most_megabytes = max(tally.most_megabytes, (outcome.megabytes, task), key=lambda found: found[0])
        tally.most_seconds = max(tally.most_seconds, (outcome.seconds, task), key=lambda found: found[0])
        if outcome.wrong:
            fault = f"{outcome.name}: {outcome.detail.partition(': ')[0]}"
            tally.examples.setdefault(fault, outcome.detail)
            known = tally.faults[fault]
            known.append(task)
            if len(known) <= KEPT:
                kept = self.keep(task)
                print(f"WRONG {kept}: {outcome.name}: {outcome.detail}", file=sys.stderr, flush=True)

    def keep(self, task: int | str) -> Path:
        """Keep an input in a zip; returns its path."""
        if isinstance(task, str):
            return Path(task)
        path = self.folder / f"{self.kind}-{self.seed}-{task}.zip"
        if not path.exists():
            draw_input(self.kind, self.seed, task).save(path)
        return path

    def clean(self) -> None:
        """Delete the workers' folders."""
        for folder in self.folder.glob(f"worker-{self.kind}-*"):
            shutil.rmtree(folder, ignore_errors=True)

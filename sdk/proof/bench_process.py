"""A configuration of `fiqa bench` and the process that measures it, seen from outside."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdk.proof.verify import Scores


@dataclass(frozen=True, slots=True)
class Configuration:
    """A file, and how to run it.

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
        first = self._ask({**asdict(configuration), "faces": str(faces), "trust": trust})
        self.error: str = first.get("error", "")
        self.device, self.precision = first.get("device", configuration.device), first.get("precision", "")
        if not self.error:
            self.scores = np.array(first["scores"], np.float32)

    def measure(self, seconds: float) -> None:
        """Call the model for some seconds."""
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

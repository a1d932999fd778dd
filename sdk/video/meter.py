"""Count the frames of a stream: how many came, and what became of each."""

import threading
import time
from collections import deque
from dataclasses import dataclass, fields

import numpy as np

from sdk.video.frames import FrameResult

WINDOW = 5.0
"""Seconds over which rates are measured."""

LATENCIES = 512
"""Number of latencies, the newest, that the percentiles are of."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts of the frames of a stream since its start.

    Once the stream is closed, captured = corrupt + skipped + dropped + delivered.

    Attributes:
        captured: Frames that the source gave.
        corrupt: Captured frames that could not be decoded.
        skipped: Captured frames left out because of `max_fps`.
        dropped: Captured frames given up because the pipeline was full, or was closed.
        delivered: Captured frames whose results the consumer got.
        stale: Delivered frames that show the same picture as the frame before.
        blank: Delivered frames that are black, or of one colour.
        scored: Delivered frames in which faces were looked for.
        faces: Faces that were scored.
        reconnects: How often the source was opened again.
        fps_in: Frames per second from the source, over the last five seconds.
        fps_scored: Frames per second in which faces were looked for, over the last five seconds.
        latency_p50: Seconds from the arrival of a frame to its result: median of the last 512.
        latency_p95: 95th percentile of the same.
        age: Seconds since the source gave a frame; None before the first.
        unscored: Faces for which the model gave NaN or infinity.
    """

    captured: int = 0
    corrupt: int = 0
    skipped: int = 0
    dropped: int = 0
    delivered: int = 0
    stale: int = 0
    blank: int = 0
    scored: int = 0
    faces: int = 0
    reconnects: int = 0
    fps_in: float = 0.0
    fps_scored: float = 0.0
    latency_p50: float = 0.0
    latency_p95: float = 0.0
    age: float | None = None
    unscored: int = 0

    def __repr__(self) -> str:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        shown = (
            f"{name}={value if isinstance(value, int) else f'{value:.4g}'}" for name, value in values.items() if value
        )
        return f"Counters({', '.join(shown)})"


class Meter:
    """Counts frames and faces; several threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(
            ("captured", "corrupt", "skipped", "dropped", "delivered", "stale", "blank", "scored", "faces", "unscored"),
            0,
        )
        self._came: deque[float] = deque()
        self._scored: deque[float] = deque()
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._last: float | None = None

    def count(self, what: str, by: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[what] += by

    def count_dropped(self, item: object) -> None:
        """Count a frame as dropped; None is no frame."""
        if item is not None:
            self.count("dropped")

    def captured(self, now: float) -> int:
        """Count a frame that has come, and return its index."""
        with self._lock:
            self._counts["captured"] += 1
            self._last = now
            _note(self._came, now)
            return self._counts["captured"] - 1

    def delivered(self, result: FrameResult) -> None:
        """Count a result that the consumer gets."""
        now = time.monotonic()
        with self._lock:
            self._counts["delivered"] += 1
            self._latencies.append(now - result.arrived)
            if result.state in ("stale", "blank"):
                self._counts[result.state] += 1
            if result.state == "new":
                self._counts["scored"] += 1
                self._counts["faces"] += sum(face.score is not None for face in result.faces)
                self._counts["unscored"] += sum(face.crop is not None and face.score is None for face in result.faces)
                _note(self._scored, now)

    def read(self, reconnects: int) -> Counters:
        """Return all counters as of now."""
        now = time.monotonic()
        with self._lock:
            p50, p95 = np.percentile(self._latencies, (50, 95)) if self._latencies else (0.0, 0.0)
            return Counters(
                **self._counts,
                reconnects=reconnects,
                fps_in=_rate(self._came, now),
                fps_scored=_rate(self._scored, now),
                latency_p50=float(p50),
                latency_p95=float(p95),
                age=None if self._last is None else now - self._last,
            )


def _note(times: deque[float], now: float) -> None:
    times.append(now)
    while times[0] < now - WINDOW:
        times.popleft()


def _rate(times: deque[float], now: float) -> float:
    recent = [at for at in times if at > now - WINDOW]
    return len(recent) / max(now - recent[0], 1e-3) if len(recent) > 1 else 0.0

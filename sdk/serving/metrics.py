"""What Prometheus reads: requests, faces, latency, the queue, what was refused and rejected."""

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from sdk.results_io.scored_face import ScoredFace

BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
"""Upper ends of the latencies, seconds."""

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Count what the service does. Each service has its own.

    Args:
        queue: Returns the number of pictures in the queue.
    """

    def __init__(self, queue: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        shared: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter(
            "fiqa_requests", "Requests for scores, and what is no HTTP, by status code.", ["status"], **shared
        )
        self._seconds = Histogram(
            "fiqa_request_seconds", "Time from the head of a request to its answer.", buckets=BUCKETS, **shared
        )
        self._problems = Counter(
            "fiqa_problems", "Requests of all paths that were refused, by kind of problem.", ["kind"], **shared
        )
        self._pictures = Counter("fiqa_pictures", "Pictures that were looked at.", **shared)
        self._faces = Counter("fiqa_faces", "Faces that were scored.", **shared)
        self._rejected = Counter(
            "fiqa_rejected_faces", "Faces that were not accepted, by their first reason.", ["reason"], **shared
        )
        Gauge("fiqa_queue", "Pictures that wait or are being scored.", **shared).set_function(queue)
        ProcessCollector(registry=self._registry)

    def count_request(self, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def count_problem(self, kind: str) -> None:
        """Count a request that was refused; `kind` is that of its problem."""
        self._problems.labels(kind).inc()

    def count_faces(self, pictures: int, faces: Iterable[ScoredFace]) -> None:
        """Count pictures and their faces."""
        self._pictures.inc(pictures)
        for face in faces:
            self._faces.inc(face.score is not None)
            if face.accepted is False:
                self._rejected.labels(face.reasons[0].code if face.reasons else "none given").inc()

    def text(self) -> bytes:
        """Return all counts in Prometheus's format."""
        return generate_latest(self._registry)

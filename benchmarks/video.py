"""The video pipeline against a plain loop, under a source that is too fast, and its best shots.

`python benchmarks/video.py [VIDEO ...]`; without a video on the synthetic clip. `--detector yunet` needs YuNet, in
`FIQA_MODELS` or fetched. The plain loop reads, detects, aligns and scores one after the other with the same models and
settings. With `all faces` the pipeline does the same work as the loop: it scores whatever the detector finds. Otherwise
it leaves out faces of low confidence that continue no track. All ways are measured in every round, and the ratio is the
median over rounds, because single times on a busy machine say little.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from media.make_clip import make_clip

from fiqa import BestShots, FaceDetector, FrameResult, QualityScorer, Tracker, VideoScorer, align
from sdk.video.video_scorer import COARSE_SIDE, DETECTION_SIDE, LOW_CONFIDENCE

TOO_FAST = 3
SECONDS = 12.0


def plain(path: str, scorer: QualityScorer, detector: FaceDetector) -> tuple[int, int]:
    """Read, detect, align, score; returns the number of frames, and of faces that were scored."""
    capture, frames, scored = cv2.VideoCapture(path), 0, 0
    while True:
        good, image = capture.read()
        if not good:
            return frames, scored
        for face in detector.detect(image):
            scorer.score(align(image, face.landmarks))
            scored += 1
        frames += 1


def pipeline(
    path: str, scorer: QualityScorer, detectors: list[FaceDetector], every: int = 1, tracker: Tracker | None = None
) -> tuple[int, int]:
    """Do the same by `VideoScorer`; returns the number of frames, and of faces that were scored."""
    with VideoScorer(path, scorer, detectors, every=every, tracker=tracker) as video:
        frames = sum(1 for _ in video)
    return frames, video.counters.faces


def compare(
    path: str, scorer: QualityScorer, explaining: QualityScorer, detectors: list[FaceDetector], rounds: int
) -> float:
    """Print frames per second and ratios; returns the pipeline's frames per second."""
    ways = {
        "plain loop": lambda: plain(path, scorer, detectors[0]),
        "VideoScorer, all faces": lambda: pipeline(path, scorer, detectors, tracker=Tracker(LOW_CONFIDENCE)),
        "VideoScorer": lambda: pipeline(path, scorer, detectors),
        "VideoScorer, reasons": lambda: pipeline(path, explaining, detectors),
        "VideoScorer, every=3": lambda: pipeline(path, scorer, detectors, every=3),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    faces: dict[str, float] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            frames, scored = way()
            rates[name].append(frames / (time.perf_counter() - start))
            faces[name] = scored / frames
    for name, found in rates.items():
        ratios = [one / other for one, other in zip(found, rates["plain loop"], strict=True)]
        low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
        print(
            f"  {name:22} {statistics.median(found):7.1f} frames/s   {middle:.2f}x ({low:.2f} to {high:.2f}), "
            f"{faces[name]:.1f} faces scored a frame"
        )
    slower = [one / other for one, other in zip(rates["VideoScorer, reasons"], rates["VideoScorer"], strict=True)]
    print(f"  with reasons / without: {statistics.median(slower):.2f}x ({min(slower):.2f} to {max(slower):.2f})")
    return statistics.median(rates["VideoScorer"])


def resident() -> float:
    """Return the megabytes that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def too_fast(path: str, scorer: QualityScorer, detectors: list[FaceDetector], fps: float) -> None:
    """Print what happens when frames come three times as fast as they can be scored."""
    capture, frames = cv2.VideoCapture(path), []
    while len(frames) < 60:
        good, image = capture.read()
        if not good:
            break
        frames.append(np.asarray(image, np.uint8))

    def source() -> Iterator[NDArray[np.uint8]]:
        start, count = time.monotonic(), 0
        while time.monotonic() - start < SECONDS:
            yield frames[count % len(frames)]
            count += 1
            time.sleep(max(0.0, start + count / (TOO_FAST * fps) - time.monotonic()))

    memory = []
    with VideoScorer(source(), scorer, detectors, live=True) as video:
        for _ in video:
            memory.append(resident())
    counters = video.counters
    print(
        f"  {TOO_FAST}x too fast, {TOO_FAST * fps:.0f} frames/s for {SECONDS:.0f} s: {counters.captured} captured, "
        f"{counters.delivered} delivered, {counters.dropped} dropped; latency p50 {counters.latency_p50 * 1000:.0f} "
        f"ms, p95 {counters.latency_p95 * 1000:.0f} ms; resident {memory[len(memory) // 4]:.0f} MB after a quarter, "
        f"{memory[-1]:.0f} MB at the end"
    )


def best_shots(path: str, scorer: QualityScorer, detectors: list[FaceDetector]) -> None:
    """Print the quality of the chosen face beside that of other choices."""
    chosen: dict[int, float] = {}
    seen: dict[int, list[tuple[float, float]]] = {}
    shots = BestShots(lambda found: chosen.update({found.track: found.shots[0].score} if found.shots else {}))

    def note(result: FrameResult) -> None:
        for face in result.faces:
            if face.score is not None:
                seen.setdefault(face.track, []).append((face.box[2] * face.box[3], face.score))

    with VideoScorer(path, scorer, detectors, best_shots=shots, min_size=30) as video:
        for result in video:
            note(result)
    tracks = [track for track, faces in seen.items() if len(faces) >= 5 and track in chosen]
    median = statistics.mean(statistics.median(score for _, score in seen[track]) for track in tracks)
    largest = statistics.mean(max(seen[track])[1] for track in tracks)
    best = statistics.mean(chosen[track] for track in tracks)
    print(
        f"  {len(tracks)} of {len(seen)} tracks have 5 faces and a best shot; mean score: best shot {best:.3f}, "
        f"largest face {largest:.3f}, median face {median:.3f}"
    )


def main() -> None:
    """Measure each video."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--detector", default="fiqa-detector", choices=["fiqa-detector", "yunet"])
    parser.add_argument("--detectors", type=int, default=2)
    options = parser.parse_args()
    (getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(2)  # errors
    with (
        tempfile.TemporaryDirectory() as folder,
        QualityScorer() as scorer,
        QualityScorer(accept=0.5, reasons=True) as explaining,
    ):
        clip = Path(folder) / "clip.mp4"
        make_clip(clip)
        detectors = [
            FaceDetector(options.detector, LOW_CONFIDENCE, passes=(COARSE_SIDE, DETECTION_SIDE))
            for _ in range(options.detectors)
        ]
        for path in [str(clip), *options.videos]:
            print(Path(path).name)
            fps = compare(path, scorer, explaining, detectors, options.rounds)
            too_fast(path, scorer, detectors, fps)
            best_shots(path, scorer, detectors)


if __name__ == "__main__":
    main()

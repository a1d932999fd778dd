"""How long one face takes, and how many a second: `python benchmarks/latency.py [--rounds N]`.

Times fiqa-nano on the CPU: on aligned crops, and on whole photos (`examples/media/astronaut.jpg` is read, searched for
faces, aligned and scored). Beside it stands a plain loop: the same model in onnxruntime as it comes, which spreads one
crop over all cores; for photos after the same detector. The ways take turns. In brackets is the median of the rounds'
ratios, the plain loop's over fiqa's. Processor time counts all cores; other programs on the machine hardly change it,
but they make latency and faces a second worse.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

import sdk
from fiqa import FaceDetector, QualityScorer, align, load_image, score_files

PHOTO = Path(__file__).parents[1] / "examples/media/astronaut.jpg"
CROPS, PHOTOS = 64, 16
WALL, PROCESSOR = 0, 1
Times = list[tuple[float, float]]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with QualityScorer(device="cpu") as scorer:
        took = interleaved(make_ways(scorer), rounds)
        print(
            f"{processor()}, {scorer.threads} cores, onnxruntime {onnxruntime.__version__}; median of {rounds} rounds\n"
        )
    print("| | latency of one | all cores | processor time |\n| --- | --- | --- | --- |")
    for kind in ("crop", "photo"):
        one, loop, many = (took[f"{kind}, {way}"] for way in ("one", "loop", "all cores"))
        print(
            f"| {kind} | {milliseconds(one, WALL)} ({ratio(loop, one, WALL)}) | {1 / median(many, WALL):.0f} a second "
            f"({ratio(loop, many, WALL)}) | {milliseconds(one, PROCESSOR)} ({ratio(loop, one, PROCESSOR)}) |"
        )
        print(
            f"| {kind}, plain loop | {milliseconds(loop, WALL)} | {1 / median(loop, WALL):.0f} a second | "
            f"{milliseconds(loop, PROCESSOR)} |"
        )


def make_ways(scorer: QualityScorer) -> dict[str, tuple[Callable[[], object], int, int]]:
    """Return what is timed: a call, how many faces it scores, how many calls a round has."""
    plain, detector, (face,) = default_session(), FaceDetector(), scorer.assess(PHOTO)
    crop, crops, paths = face.crop, np.repeat(face.crop[None], CROPS, 0), [PHOTO] * PHOTOS

    def plain_photo() -> None:
        pixels = load_image(PHOTO)
        for found in detector.detect(pixels):
            plain(align(pixels, found.landmarks))

    return {
        "crop, one": (lambda: scorer.score(crop), 1, CROPS),
        "crop, loop": (lambda: plain(crop), 1, CROPS),
        "crop, all cores": (lambda: scorer.score_batch(crops), CROPS, 1),
        "photo, one": (lambda: scorer.assess(PHOTO), 1, PHOTOS),
        "photo, loop": (plain_photo, 1, PHOTOS),
        "photo, all cores": (lambda: list(score_files(scorer, paths)), PHOTOS, 1),
    }


def default_session() -> Callable[[np.ndarray], float]:
    """Return fiqa-nano in onnxruntime with its default options."""
    path = next(Path(sdk.__file__).parent.rglob("fiqa-nano.onnx"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda crop: float(session.run(None, {name: crop[None]})[0][0, 0])


def interleaved(ways: dict[str, tuple[Callable[[], object], int, int]], rounds: int) -> dict[str, Times]:
    """Return a face's times of each way: of each round the median of its calls."""
    took: dict[str, Times] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, (call, faces, calls) in ways.items():
            each = [timed(call) for _ in range(calls)]
            if number:  # the first round warms up
                took[way].append((median(each, WALL) / faces, median(each, PROCESSOR) / faces))
    return took


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that a call takes, by the clock and of all cores."""
    wall, cores = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cores


def median(times: Times, clock: int) -> float:
    """Return the median in seconds."""
    return statistics.median(each[clock] for each in times)


def milliseconds(times: Times, clock: int) -> str:
    """Return the median as text."""
    return f"{1000 * median(times, clock):.1f} ms"


def ratio(reference: Times, times: Times, clock: int) -> str:
    """Return how many times as fast as the reference, as text."""
    return f"{statistics.median(other[clock] / own[clock] for other, own in zip(reference, times, strict=True)):.2f}x"


def processor() -> str:
    """Return the name of the processor."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()

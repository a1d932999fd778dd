"""How long one face takes, and how many a second: `python benchmarks/latency.py [--rounds N]`.

Times fiqa-nano on the CPU: on aligned crops, and on whole photos (`examples/media/astronaut.jpg` is read, searched for
faces, aligned and scored). Beside it stands a plain loop: the same model in onnxruntime as it comes, one crop at a
time, for photos after the same detector. The ways take turns; the ratio is the median of the rounds' ratios.
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


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with QualityScorer(device="cpu") as scorer:
        ways = make_ways(scorer)
        times = interleaved(ways, rounds)
        print(
            f"{processor()}, {scorer.threads} cores, onnxruntime {onnxruntime.__version__}; median of {rounds} rounds\n"
        )
    print("| fiqa-nano | one at a time | plain loop | all cores | plain loop |\n| --- | --- | --- | --- | --- |")
    for kind in ("crop", "photo"):
        one, loop, many = (times[f"{kind}, {way}"] for way in ("one", "loop", "all cores"))
        print(
            f"| {kind} | {1000 * statistics.median(one):.1f} ms | {ratio(loop, one)} | "
            f"{1 / statistics.median(many):.0f} a second | {ratio(loop, many)} |"
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


def interleaved(ways: dict[str, tuple[Callable[[], object], int, int]], rounds: int) -> dict[str, list[float]]:
    """Return seconds a face of each way: of each round the median of its calls."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, (call, faces, calls) in ways.items():
            seconds = [timed(call) / faces for _ in range(calls)]
            if number:  # the first round warms up
                times[way].append(statistics.median(seconds))
    return times


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(reference: list[float], seconds: list[float]) -> str:
    """Return how many times as fast as the reference: the median of the rounds, with the lowest and the highest."""
    ratios = sorted(other / own for other, own in zip(reference, seconds, strict=True))
    return f"{statistics.median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def processor() -> str:
    """Return the name of the processor."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()

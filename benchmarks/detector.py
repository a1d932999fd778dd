"""The embedded face detector against YuNet: faces found by size, landmarks, quality scores, speed.

    FIQA_MODELS=DATA/models python benchmarks/detector.py DATA --photos runs/detector/photos.parquet

YuNet's finds from a confidence of 0.8 on are taken for the truth; those from 0.3 on may be found or not. LFW: the test
people of the recipe, whose photos are reduced so that the known face is 20 to 92 pixels wide; both detectors see the
same picture. Photos and video: as they are. YuNet's landmarks are no exact truth: "YuNet again" is how far they move
when it sees the mirror image. LFW's known landmarks, the median of YuNet's at three enlargements of the whole photo,
are steadier: both detectors are compared with them, too.

`benchmarks/detector_faces.py` measures profiles, faces that fill the picture, and pictures without a face.
"""

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk import FaceDetector, QualityScorer, align
from sdk.images.decoding import load_image
from sdk.images.folders import images_below
from train.data.prepare import PrepareSettings, split_people
from train.detector.matching import FALSE, NEITHER, TRUE, match
from train.detector.photos import Photo, read_photos
from train.detector.scenes import mirrored

CERTAIN, DOUBTFUL = 0.8, 0.3
BANDS = ((10, 20), (20, 40), (40, 80), (80, 160), (160, 10_000))
WIDTHS = (20, 30, 45, 65, 92)
IOU = 0.4

HEADINGS = (
    "| face width | faces | recall | landmark error, median | 90 % | YuNet again, median "
    "| score difference, median | 90 % | mean |"
)

NOTHING = np.zeros((0, 15), np.float32)

Image = NDArray[np.uint8]


@dataclass
class Tally:
    """What was found in one set of pictures."""

    found: list[tuple[float, bool]] = field(default_factory=list)
    landmarks: list[tuple[float, float]] = field(default_factory=list)
    again: list[tuple[float, float]] = field(default_factory=list)
    known: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {"fiqa-detector": [], "YuNet": []})
    scores: list[tuple[float, float, float]] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    false: list[tuple[int, list[float]]] = field(default_factory=list)
    pictures: int = 0

    def add(self, image: Image, own: NDArray, truth: NDArray, scorer: QualityScorer) -> None:
        """Count one picture."""
        kinds, partners = match(own, truth, IOU)
        self.kinds += kinds.tolist()
        self.false += [(self.pictures, row[:4].tolist()) for row in own[kinds == FALSE]]
        self.pictures += 1
        sure = truth[:, 14] > 0
        self.found += [(row[2], partner >= 0) for row, partner in zip(truth[sure], partners[sure], strict=True)]
        pairs = [(own[p], row) for row, p in zip(truth[sure], partners[sure], strict=True) if p >= 0]
        self.landmarks += landmark_errors(own, truth)
        if pairs:
            crops = [align(image, r[4:14].reshape(5, 2)) for pair in pairs for r in pair]
            scores = scorer.score_batch(crops).reshape(-1, 2)
            self.scores += [(pair[1][2], float(a), float(b)) for pair, (a, b) in zip(pairs, scores, strict=True)]


def landmark_errors(found: NDArray, truth: NDArray) -> list[tuple[float, float]]:
    """Width, in pixels, of each face that was found, and how far its landmarks are away, in distances of its eyes."""
    errors = []
    for row, partner in zip(truth, match(found, truth, IOU)[1], strict=True):
        if row[14] > 0 and partner >= 0:
            errors.append((row[2], landmark_error(found[partner], row)))
    return errors


def landmark_error(found: NDArray, truth: NDArray) -> float:
    """Return the mean distance of the landmarks, in distances of the true eyes, or in quarters of the face's width
    where the eyes are nearer to each other than that."""
    a, b = (row[4:14].reshape(5, 2) for row in (found, truth))
    eyes = max(float(np.linalg.norm(b[1] - b[0])), 0.25 * truth[2])
    return float(np.linalg.norm(a - b, axis=1).mean() / eyes)


def rows_of(detector: FaceDetector, image: Image) -> NDArray[np.float32]:
    """A detector's finds as rows: box, landmarks, confidence."""
    faces = [[*f.box, *f.landmarks.reshape(-1).tolist(), f.confidence] for f in detector.detect(image)]
    return np.array(faces, np.float32).reshape(-1, 15)


def test_photos(path: Path) -> tuple[list[Photo], set[str]]:
    """Photos of LFW's test people, and all test people, LFW's and CFP's."""
    found, people = read_photos(path)
    test = {person for person, split in split_people(people, PrepareSettings()).items() if split == "test"}
    pairs = zip(found, people, strict=True)
    return [photo for photo, person in pairs if person in test and "lfw" in photo.path.parts], test


def lfw(photos: Path, count: int) -> Iterator[tuple[Image, NDArray]]:
    """Photos of the test people, the known face at each of `WIDTHS` in turn, and that face."""
    test = test_photos(photos)[0]
    for index, row in enumerate(np.linspace(0, len(test) - 1, min(count, len(test))).astype(int)):
        image = load_image(test[row].path)
        scale = min(1.0, WIDTHS[index % len(WIDTHS)] / test[row].faces[0, 2])
        known = test[row].faces[:1] * np.append(np.full(14, scale), 1)
        yield np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8), known


def video(path: Path, every: int = 5) -> Iterator[Image]:
    """Every few frames of a video."""
    capture = cv2.VideoCapture(str(path))
    index = 0
    while True:
        good, frame = capture.read()
        if not good:
            return
        if index % every == 0:
            yield np.asarray(frame, np.uint8)
        index += 1


def compare(
    images: Iterable[tuple[Image, NDArray]], own: FaceDetector, yunet: FaceDetector, scorer: QualityScorer
) -> Tally:
    """Run both detectors over pictures; what is known of them beforehand may be nothing."""
    tally = Tally()
    for image, known in images:
        mine, truth = rows_of(own, image), rows_of(yunet, image)
        tally.known["fiqa-detector"] += landmark_errors(mine, known)
        tally.known["YuNet"] += landmark_errors(truth, known)
        truth[truth[:, 14] < CERTAIN, 14] = 0
        again = mirrored(rows_of(yunet, np.asarray(cv2.flip(image, 1), np.uint8)), image.shape[1])
        tally.again += landmark_errors(again, truth)
        tally.add(image, mine, truth, scorer)
    return tally


def show_known(tally: Tally) -> None:
    """Print how far both detectors are from the known landmarks."""
    print("\n| face width | faces | fiqa-detector, median | 90 % | YuNet, median | 90 % |")
    print("| --- | --- | --- | --- | --- | --- |")
    for low, high in ((10, 40), (40, 80), (80, 160), (40, 160)):
        errors = [[error for width, error in found if low <= width < high] for found in tally.known.values()]
        if all(errors):
            cells = [f"{value:.1%}" for found in errors for value in np.percentile(found, (50, 90))]
            print(f"| {low} to {high} | {len(errors[0])} | {' | '.join(cells)} |")


def show(name: str, tally: Tally) -> None:
    """Print the rows of one set."""
    kinds = np.array(tally.kinds)
    true, false = int((kinds == TRUE).sum()), int((kinds == FALSE).sum())
    neither = int((kinds == NEITHER).sum())
    print(f"\n{name}: {tally.pictures} pictures; finds: {true} true, {neither} doubtful, {false} others")
    print(HEADINGS)
    print("| --- " * HEADINGS.count(" | ") + "| --- |")
    for low, high in (*BANDS, (40, 10_000)):
        hits = [hit for width, hit in tally.found if low <= width < high]
        errors = [error for width, error in tally.landmarks if low <= width < high]
        moved = np.array([a - b for width, a, b in tally.scores if low <= width < high])
        if not hits or not errors:
            continue
        label = f"{low} to {high}" if high < 10_000 else f"{low} and more"
        mid, most = np.percentile(errors, (50, 90))
        again = [error for width, error in tally.again if low <= width < high]
        floor = f"{np.median(again):.1%}" if again else "-"
        apart = np.percentile(np.abs(moved), (50, 90))
        row = [label, len(hits), f"{np.mean(hits):.3f}", f"{mid:.1%}", f"{most:.1%}", floor]
        row += [f"{apart[0]:.3f}", f"{apart[1]:.3f}", f"{moved.mean():+.3f}"]
        print(f"| {' | '.join(map(str, row))} |")


def speed(detectors: dict[str, FaceDetector], rounds: int = 15) -> None:
    """Milliseconds of one pass on one core, in interleaved rounds."""
    cv2.setNumThreads(1)
    print("\n| picture | " + " | ".join(f"{name}, ms" for name in detectors) + " |")
    print("| --- |" + " --- |" * len(detectors))
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for width, height in ((320, 240), (640, 480), (1280, 720)):
        image = np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
        times: dict[str, list[float]] = {name: [] for name in detectors}
        for _ in range(rounds):
            for name, detector in detectors.items():
                with detector._network as network:
                    start = time.perf_counter()
                    network.find(image)
                    times[name].append(1000 * (time.perf_counter() - start))
        cells = " | ".join(f"{np.median(values):.1f}" for values in times.values())
        print(f"| {width} x {height} | {cells} |")


def main() -> None:
    """Compare on all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=Path, help="photos.parquet of `fiqa-train fit detector`, for LFW")
    parser.add_argument("--model", default="fiqa-detector")
    parser.add_argument("--yunet", default="yunet-2026may")
    parser.add_argument("--count", type=int, default=1000, help="Photos of LFW")
    parser.add_argument("--confidence", type=float, default=0.7)
    parser.add_argument("--draw", type=Path, help="Folder for the photos with all finds, ours green")
    options = parser.parse_args()
    own, truth = FaceDetector(options.model, options.confidence), FaceDetector(options.yunet, DOUBTFUL)
    with QualityScorer() as scorer:
        if options.photos:
            tally = compare(lfw(options.photos, options.count), own, truth, scorer)
            show("LFW, test people", tally)
            show_known(tally)
        files = images_below(options.data / "photos")
        show("photos", compare(((load_image(path), NOTHING) for path in files), own, truth, scorer))
        for path in sorted((options.data / "video").glob("*.[mg][pi][4f]")):
            show(path.name, compare(((frame, NOTHING) for frame in video(path)), own, truth, scorer))
    speed({"fiqa-detector": own, "YuNet": FaceDetector(options.yunet)})
    for path in files if options.draw else ():
        draw(path, options.draw, own, truth)


def draw(path: Path, folder: Path, own: FaceDetector, yunet: FaceDetector) -> None:
    """Save a photo with the finds of both: ours green, YuNet's blue, its doubtful ones grey."""
    folder.mkdir(parents=True, exist_ok=True)
    image = load_image(path)
    for detector in (yunet, own):
        for face in detector.detect(image):
            sure = (255, 120, 0) if face.confidence >= CERTAIN else (128, 128, 128)
            colour = (0, 220, 0) if detector is own else sure
            x, y, w, h = (round(value) for value in face.box)
            cv2.rectangle(image, (x, y), (x + w, y + h), colour, 2)
            for px, py in face.landmarks:
                cv2.circle(image, (round(float(px)), round(float(py))), 2, colour, -1)
    cv2.imwrite(str(folder / f"{path.stem}.png"), image)


if __name__ == "__main__":
    main()

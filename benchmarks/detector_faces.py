"""The embedded face detector beside YuNet where the faces are known: profiles, filled frames, the dark, no face.

    FIQA_MODELS=DATA/models python benchmarks/detector_faces.py DATA --photos runs/detector/photos.parquet

DATA has `cfp.tar`, `cfp_faces.csv` and `london.tar`. All people are set aside: those of LFW and CFP who are in the test
of the recipe. Both detectors have the defaults of `FaceDetector` where no option says otherwise.

Profiles: landmarks are compared with CFP's table. They are YuNet's, so they favour YuNet; on full profiles they are
guesses. Faces that fill the frame: pictures of LFW and London, cut so that the face's box has a share of the frame's
width, and resized. A find counts where it overlaps the box, or its part within the frame. LFW's boxes are known,
London's are YuNet's in the whole picture. The dark: London's pictures, reduced to 640 pixels, with a share of their
light and noise of 5 grey levels, by group of people. No face: textures, parts of LFW photos where YuNet sees nothing,
and photos whose faces are painted over: heads without a face.
"""

import argparse
import csv
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from detector import IOU, Image, landmark_error, rows_of, test_photos
from numpy.typing import NDArray

from sdk import FaceDetector
from sdk.detection.boxes import intersection_over_union
from sdk.images.decoding import load_image
from train.detector.photos import Photo
from train.detector.scenes import _painted_over, _without_face
from train.detector.textures import texture

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
FRAMES = ((96, 96), (320, 320), (640, 360), (360, 640), (1280, 1280))
"""Width and height, pixels."""

LIGHT = (1.0, 0.25, 0.18, 0.12, 0.06)
"""Shares of the light."""
NOISE = 5
"""Deviation of the noise in the dark, grey levels."""

COLUMNS = ("leye_x", "leye_y", "reye_x", "reye_y", "nose_x", "nose_y", "lmouth_x", "lmouth_y", "rmouth_x", "rmouth_y")

Face = NDArray[np.float32]
"""(15,): see `sdk.detection.boxes.Rows`."""

Detectors = dict[str, FaceDetector]


@dataclass
class Tally:
    """What one detector finds in pictures of one face each."""

    found: list[bool] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    others: int = 0

    def add(self, finds: NDArray[np.float32], face: Face, image: Image) -> None:
        """Count one picture."""
        near, far = np.maximum(face[:2], 0), np.minimum(face[:2] + face[2:4], image.shape[1::-1])
        wanted = np.stack([face[:4], [*near, *(far - near)]])
        shared = intersection_over_union(finds, wanted).max(1, initial=0)
        good = bool(len(finds)) and bool(shared.max() >= IOU)
        self.found.append(good)
        self.others += len(finds) - good
        if good:
            self.errors.append(landmark_error(finds[shared.argmax()], face))


def compare(detectors: Detectors, pictures: Iterable[tuple[Image, Face]]) -> dict[str, Tally]:
    """Run all detectors over pictures of one known face each."""
    tallies = {name: Tally() for name in detectors}
    for image, face in pictures:
        for name, detector in detectors.items():
            tallies[name].add(rows_of(detector, image), face, image)
    return tallies


def cfp(data: Path, people: set[str]) -> dict[str, list[tuple[Image, Face]]]:
    """Read the pictures of these people, with their faces in CFP's table, by pose: frontal and profile."""
    found: dict[str, list[tuple[Image, Face]]] = {"frontal": [], "profile": []}
    with tarfile.open(data / "cfp.tar") as images, (data / "cfp_faces.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["lfw_name"] in people:
                face = np.array([*(float(row[name]) for name in ("x", "y", "w", "h", *COLUMNS)), 1], np.float32)
                found[Path(row["file"]).name.split("_")[0]].append((read(images, row["file"]), face))
    return found


def london(data: Path, count: int, yunet: FaceDetector) -> list[tuple[Image, Face]]:
    """Read pictures and find their faces."""
    with tarfile.open(data / "london.tar") as images:
        names = sorted(name for name in images.getnames() if name.endswith(".jpg"))
        found = [read(images, names[row]) for row in evenly(len(names), count)]
    return [(image, rows_of(yunet, image)[0]) for image in found]


def read(images: tarfile.TarFile, name: str) -> Image:
    """Read a picture of an archive."""
    member = images.extractfile(name)
    assert member is not None, f"{name} is no file"
    return load_image(member.read())


def evenly(length: int, count: int) -> list[int]:
    """Return `count` rows of a table, evenly spread."""
    return np.linspace(0, length - 1, min(count, length)).astype(int).tolist()


def filled(image: Image, face: Face, share: float, size: tuple[int, int]) -> tuple[Image, Face]:
    """Cut a frame out of a picture so that the face has a share of its width; what lies outside repeats the edge."""
    scale = share * size[0] / face[2]
    if scale < 1:  # reduce by area first, so that no detail aliases
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        face, scale = scaled(face, scale), 1.0
    frame = np.array(size) / scale
    room = np.array(image.shape[1::-1]) - frame
    corner = np.clip(face[:2] + face[2:4] / 2 - frame / 2, np.minimum(0, room), np.maximum(0, room))
    matrix = np.array([[scale, 0, 0], [0, scale, 0]])
    matrix[:, 2] = (scale - 1) / 2 - scale * corner
    view = cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    moved = face.copy()
    moved[:2] -= corner
    moved[4:14] -= np.tile(corner, 5)
    return np.asarray(view, np.uint8), scaled(moved, scale)


def scaled(face: Face, scale: float) -> Face:
    """Return a face in a resized picture."""
    return face * np.append(np.full(14, scale), 1).astype(np.float32)


def without_faces(photos: list[Photo], count: int) -> Iterator[tuple[str, Image]]:
    """Draw pictures without a face, of each kind in turn, and name the kind."""

    def photo(rng: np.random.Generator) -> tuple[Image, NDArray[np.float32]]:
        drawn = photos[rng.integers(len(photos))]
        return load_image(drawn.path), drawn.faces

    rng = np.random.default_rng(0)
    for _ in range(count):
        width, height = (int(side) for side in np.exp(rng.uniform(np.log(96), np.log(640), 2)))
        yield "textures", texture(width, height, rng)
        yield "parts of photos", _without_face(width, height, photo, rng)
        yield "covered faces", _painted_over(*photo(rng), photo, rng)


def show_profiles(detectors: Detectors, poses: dict[str, list[tuple[Image, Face]]]) -> None:
    """Print recall and landmarks of CFP."""
    print("\n| CFP | detector | pictures | found | landmark error, median | 90 % | other finds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for pose, pictures in poses.items():
        for name, tally in compare(detectors, pictures).items():
            middle, most = np.percentile(tally.errors, (50, 90))
            cells = [pose, name, len(pictures), f"{np.mean(tally.found):.3f}", f"{middle:.1%}", f"{most:.1%}"]
            print(f"| {' | '.join(map(str, cells))} | {tally.others} |", flush=True)


def show_filled(title: str, detectors: Detectors, pictures: list[tuple[Image, Face]]) -> None:
    """Print the share found by frame and by the face's share of its width."""
    print(f"\n{title}, {len(pictures)} pictures: share found / other finds")
    print(f"| frame | detector | {' | '.join(f'{share:.0%}' for share in SHARES)} |")
    print("| --- " * (2 + len(SHARES)) + "|")
    for size in FRAMES:
        cells: dict[str, list[str]] = {name: [] for name in detectors}
        for share in SHARES:
            tallies = compare(detectors, (filled(image, face, share, size) for image, face in pictures))
            for name, tally in tallies.items():
                cells[name].append(f"{np.mean(tally.found):.2f} / {tally.others}")
        for name, row in cells.items():
            print(f"| {size[0]} x {size[1]} | {name} | {' | '.join(row)} |", flush=True)


def show_dark(data: Path, detectors: Detectors) -> None:
    """Print the share of London's pictures in which a face is found, by light and by `face_eth`."""
    found: dict[tuple[str, str, float], list[bool]] = {}
    with tarfile.open(data / "london.tar") as images:
        table = images.extractfile("london/info.csv")
        assert table is not None, "london/info.csv is no file"
        groups = {row["face_id"]: row["face_eth"] for row in csv.DictReader(table.read().decode().splitlines())}
        for number, name in enumerate(sorted(name for name in images.getnames() if name.endswith(".jpg"))):
            image, rng = read(images, name), np.random.default_rng(number)
            scale = 640 / max(image.shape[:2])
            image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
            noise = rng.normal(0, NOISE, image.shape)
            for light in LIGHT:
                dark = image if light == 1 else np.clip(image * light + noise, 0, 255).astype(np.uint8)
                for who, detector in detectors.items():
                    key = (groups[name.split("/")[1]], who, light)
                    found.setdefault(key, []).append(bool(detector.detect(dark)))
    print(f"\n| group | pictures | detector | {' | '.join(f'{light:.0%}' for light in LIGHT)} |")
    print("| --- " * (3 + len(LIGHT)) + "|")
    for group, who in dict.fromkeys(key[:2] for key in sorted(found)):
        cells = [found[group, who, light] for light in LIGHT]
        print(f"| {group} | {len(cells[0])} | {who} | {' | '.join(f'{np.mean(cell):.2f}' for cell in cells)} |")


def show_false(detectors: Detectors, pictures: Iterable[tuple[str, Image]]) -> None:
    """Print the finds in pictures without a face."""
    counts: dict[str, dict[str, int]] = {}
    for kind, image in pictures:
        row = counts.setdefault(kind, {"pictures": 0, **dict.fromkeys(detectors, 0)})
        row["pictures"] += 1
        for name, detector in detectors.items():
            row[name] += len(detector.detect(image))
    print(f"\n| no face | pictures | finds: {' | '.join(detectors)} |\n| --- | --- {'| --- ' * len(detectors)}|")
    for kind, row in counts.items():
        print(f"| {kind} | {' | '.join(map(str, row.values()))} |")


def main() -> None:
    """Compare on all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=Path, required=True, help="photos.parquet of `fiqa-train fit detector`")
    parser.add_argument("--model", default="fiqa-detector")
    parser.add_argument("--yunet", default="yunet-2026may")
    parser.add_argument("--confidence", type=float, default=0.7, help="of fiqa-detector")
    parser.add_argument("--passes", type=int, nargs="+", help="of fiqa-detector; `fiqa video`: 640, and 0.4")
    parser.add_argument("--count", type=int, default=15, help="pictures that are cut to frames, of LFW and of London")
    parser.add_argument("--empty", type=int, default=100, help="pictures without a face, of each kind")
    options = parser.parse_args()
    yunet = FaceDetector(options.yunet)
    own = FaceDetector(options.model, options.confidence, passes=options.passes)
    detectors = {"fiqa-detector": own, "YuNet": yunet}
    test, people = test_photos(options.photos)
    show_profiles(detectors, cfp(options.data, people))
    chosen = [test[row] for row in evenly(len(test), options.count)]
    show_filled("LFW", detectors, [(load_image(photo.path), photo.faces[0]) for photo in chosen])
    show_filled("London", detectors, london(options.data, options.count, yunet))
    show_dark(options.data, detectors)
    show_false(detectors, without_faces(test, options.empty))


if __name__ == "__main__":
    main()

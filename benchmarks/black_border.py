"""Compare scores of the same face with and without a black border.

    python benchmarks/black_border.py DATA --model fiqa-nano --lightqnet lightqnet-dm100.pb

DATA holds the unpacked folders `cfp` and `lfw`, `cfp_faces.csv` and `lfw_landmarks.npz`. All faces are of test people
of the recipes: they are chosen by their names in LFW.

- `CFP`: its pictures are cut tightly, so the aligned crop reaches beyond them. What lies outside is black, or repeats
  the picture's last pixels (replicated). Nobody knows what was there.
- `LFW, cut as CFP`: whole pictures are cut as tightly as a random CFP picture, relative to the face's box, so the real
  surroundings are known. `LFW, one side cut`: a random side is cut, up to a third of the crop.

A table shows the difference of the scores of two borders: its mean, quantiles of its absolute value, and the share of
faces where that exceeds 0.02; by the share of the crop that lies outside the picture.
"""

import argparse
import csv
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scorers import add_model_options, load_scorers, score_faces

from fiqa import load_image
from sdk.alignment import CROP_SIZE, similarity_transform
from train.data.prepare import PrepareSettings, split_people

LIMIT = 0.02
"""Difference of scores that a border may make."""

QUANTILES = (0.5, 0.9, 0.95, 0.99)

EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 1.0)
"""Shares of the crop outside the picture: the rows of a table."""

MARKS = ("leye", "reye", "nose", "lmouth", "rmouth")

Box = NDArray[np.float64]
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A face in a picture: its path, landmarks (5, 2), and box as left, top, right and bottom, in pixels."""

    path: Path
    landmarks: NDArray[np.float64]
    box: Box


@dataclass(frozen=True, slots=True)
class Faces:
    """Crops of the same faces with different borders.

    Attributes:
        crops: uint8 BGR (112, 112, 3) of each face, by border.
        outside: Share of each crop that lies outside the picture.
    """

    crops: dict[str, list[Image]] = field(default_factory=dict)
    outside: list[float] = field(default_factory=list)

    def add(self, image: Image, landmarks: NDArray[np.float64], whole: Image | None = None) -> None:
        """Align a face with a black and with a replicated border; and as it is in the `whole` picture."""
        matrix = similarity_transform(landmarks)
        borders = {"black": cv2.BORDER_CONSTANT, "replicated": cv2.BORDER_REPLICATE}
        crops = {name: warp(image, matrix, border) for name, border in borders.items()}
        if whole is not None:
            crops["real"] = whole
        for name, crop in crops.items():
            self.crops.setdefault(name, []).append(crop)
        self.outside.append(outside_share(image, matrix))


def warp(image: Image, matrix: NDArray[np.float64], border: int) -> Image:
    """Align as `sdk.align` does, with another border."""
    crop = cv2.warpAffine(image, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(crop, np.uint8)


def outside_share(image: Image, matrix: NDArray[np.float64]) -> float:
    """Return the share of the aligned crop that lies outside the picture."""
    inside = warp(np.full(image.shape[:2], 255, np.uint8), matrix, cv2.BORDER_CONSTANT)
    return float(np.mean(inside < 128))


def read_cfp(data: Path, test: set[str]) -> tuple[list[Source], list[Source]]:
    """Return the frontal and the profile pictures of test people."""
    found: dict[str, list[Source]] = {"frontal": [], "profile": []}
    with (data / "cfp_faces.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["lfw_name"] in test:
                marks = np.array([[float(row[f"{mark}_{axis}"]) for axis in "xy"] for mark in MARKS])
                x, y, w, h = (float(row[name]) for name in "xywh")
                path = data / row["file"]
                found[path.name.partition("_")[0]].append(Source(path, marks, np.array([x, y, x + w, y + h])))
    return found["frontal"], found["profile"]


def read_lfw(data: Path) -> tuple[list[Source], set[str]]:
    """Return the pictures of LFW's test people, and the people's names."""
    table = np.load(data / "lfw_landmarks.npz")
    names = [str(name) for name in table["names"]]
    people = [name.partition("/")[0] for name in names]
    test = {person for person, split in split_people(people, PrepareSettings()).items() if split == "test"}
    corners = np.concatenate([table["box_xywh"][:, :2], table["box_xywh"][:, :2] + table["box_xywh"][:, 2:]], axis=1)
    sources = [
        Source(data / "lfw" / name, marks.astype(np.float64), box.astype(np.float64))
        for name, person, marks, box in zip(names, people, table["landmarks"], corners, strict=True)
        if person in test
    ]
    return sources, test


def as_found(sources: Iterable[Source]) -> Faces:
    """Align faces of pictures as they are."""
    faces = Faces()
    for source in sources:
        faces.add(load_image(source.path), source.landmarks)
    return faces


def margins(source: Source) -> Box:
    """Return how far the picture reaches beyond the box: left, top, right and bottom, in sides of the box."""
    height, width = load_image(source.path).shape[:2]
    sides = np.tile(source.box[2:] - source.box[:2], 2)
    return np.asarray((np.array([0, 0, width, height]) - source.box) / sides)


def cut(sources: Sequence[Source], tight: Sequence[Box], rng: np.random.Generator) -> tuple[Faces, Faces]:
    """Cut whole pictures as CFP's, and on one side. Faces that are not wholly in the whole picture are left out."""
    as_cfp, one_side = Faces(), Faces()
    for source in sources:
        image, matrix = load_image(source.path), similarity_transform(source.landmarks)
        if outside_share(image, matrix):
            continue
        whole = warp(image, matrix, cv2.BORDER_CONSTANT)
        sides = np.tile(source.box[2:] - source.box[:2], 2)
        frame = source.box + sides * tight[int(rng.integers(len(tight)))]
        as_cfp.add(*cut_out(image, source.landmarks, frame), whole)
        one_side.add(*cut_out(image, source.landmarks, frame_on_one_side(image, matrix, rng)), whole)
    return as_cfp, one_side


def frame_on_one_side(image: Image, matrix: NDArray[np.float64], rng: np.random.Generator) -> Box:
    """Return the picture's frame with one side moved into the crop, by up to a third of it."""
    corners = np.array([(0, 0), (0, CROP_SIZE), (CROP_SIZE, 0), (CROP_SIZE, CROP_SIZE)])
    seen = np.linalg.solve(matrix[:, :2], (corners - matrix[:, 2]).T)
    first, last = seen.min(axis=1), seen.max(axis=1)
    frame = np.array([0, 0, image.shape[1], image.shape[0]], np.float64)
    side, depth = int(rng.integers(4)), rng.uniform(0, 1 / 3)
    axis = side % 2
    frame[side] = first[axis] + depth * (last - first)[axis] if side < 2 else last[axis] - depth * (last - first)[axis]
    return frame


def cut_out(image: Image, landmarks: NDArray[np.float64], frame: Box) -> tuple[Image, NDArray[np.float64]]:
    """Cut a picture at a frame in whole pixels, and move the landmarks along."""
    height, width = image.shape[:2]
    left, top, right, bottom = np.clip(np.rint(frame).astype(int), 0, [width, height, width, height])
    return np.ascontiguousarray(image[top:bottom, left:right]), landmarks - (left, top)


def print_differences(differences: NDArray[np.float64], outside: NDArray[np.float64]) -> None:
    """Print a row of all faces, and one for each share of the crop that lies outside the picture."""
    quantiles = [f"{quantile:.0%}" for quantile in QUANTILES]
    cells = ["outside the picture", "faces", "mean", "mean of absolute", *quantiles, f"above {LIMIT}"]
    print(f"| {' | '.join(cells)} |\n|{' --- |' * len(cells)}")
    parts = {"all": np.ones(len(outside), bool), "nothing": outside == 0}
    for low, high in itertools.pairwise(EDGES):
        parts[f"{low:.0%} to {high:.0%}"] = (outside > low) & (outside <= high)
    for name, part in parts.items():
        if part.any():
            of_part = differences[part]
            sizes = np.abs(of_part)
            values = [of_part.mean(), sizes.mean(), *np.quantile(sizes, QUANTILES)]
            cells = [name, str(part.sum()), *(f"{value:.3f}" for value in values), f"{np.mean(sizes > LIMIT):.0%}"]
            print(f"| {' | '.join(cells)} |")
    print()


def main() -> None:
    """Score all faces with all borders, print a table for each model, set and pair of borders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    add_model_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the cuts")
    options = parser.parse_args()
    models = load_scorers(options)
    lfw, test = read_lfw(options.data)
    frontal, profile = read_cfp(options.data, test)
    sets = {"CFP, frontal": as_found(frontal), "CFP, profile": as_found(profile)}
    tight = [margins(source) for source in (*frontal, *profile)]
    sets["LFW, cut as CFP"], sets["LFW, one side cut"] = cut(lfw, tight, np.random.default_rng(options.seed))
    for name, faces in sets.items():
        scores = {border: score_faces(models, np.stack(crops)) for border, crops in faces.crops.items()}
        pairs = [("black", "replicated"), *((border, "real") for border in ("black", "replicated") if "real" in scores)]
        for model in models:
            deviation = scores["replicated"][model].std()
            for first, second in pairs:
                print(f"### {name}: {first} less {second}, {model} (deviation of its scores {deviation:.3f})\n")
                print_differences(scores[first][model] - scores[second][model], np.array(faces.outside))


if __name__ == "__main__":
    main()

"""Measure how good the reasons are, on people whom the network was not trained on: the tables of docs/reasons.md.

    python benchmarks/reasons.py DATA --work FOLDER

DATA holds what the recipe fiqa-reasons names (`lfw.tar`, `lfw_landmarks.npz`, `cfp.tar`, `cfp_faces.csv`) and
`london.tar`, the Face Research Lab London Set with its `info.csv`. Archives are unpacked into FOLDER.

- Damage of one kind: `train.degradations.graded` on clean test faces (at most `--each` a person), in bands of grades.
  `first`: the kind is the first reason. `named`: it is one of the reasons.
- Two kinds: each pair equally often, grades from 0.5 to 1, multiplied by 0.75 as in training data. `both`: both are
  among the first three reasons.
- Clean: LFW's test people, and the London set as `QualityScorer.assess` gives it, by self-reported group.
- Turned: CFP's frontal and profile pictures, cut out with the border black, as in the SDK, and replicated.
- Crops of damaged copies are black outside of their picture, as in the SDK.
- Intervals (95 %) are a bootstrap over people. `--split validation` shows the people on whom limits were chosen.
- Cost: one face at a time, one thread.
"""

import argparse
import csv
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fiqa import Face, FaceDetector, QualityScorer, find_reasons
from sdk.alignment import align
from sdk.decision.measures import IMAGE_DAMAGE, SCALES, make_measure
from sdk.measuring.damage import DamageNetwork
from sdk.measuring.geometry import geometry
from sdk.measuring.light import light
from sdk.measuring.measurer import Measurer
from train.data.archive import unpack
from train.data.manifest import Manifest
from train.data.prepare import PrepareSettings, split_people
from train.data.sources.source import joined, read_source, sources_of_recipe, unpacked
from train.degradations.framing import blacken
from train.degradations.graded import DEGRADATIONS, Damage, degrade
from train.evaluation.by_group.statistics import Groups, exact_interval, make_groups
from train.reasons.faces import CleanFaces, read_faces
from train.recipes import read_recipe, settings_from

DRAWS = 1000
BANDS = ((0.1, 0.25), (0.25, 0.5), (0.5, 1.0))
MEASURE_OF = {kind: "resolution" if kind == "low_resolution" else kind for kind in DEGRADATIONS}
DAMAGE_CODES = {SCALES[name].code for name in IMAGE_DAMAGE}
BATCH = 64

Codes = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class People:
    """Clean faces and whose they are.

    Attributes:
        faces: The crops.
        names: Person of each.
        sources: Name of each picture.
    """

    faces: CleanFaces
    names: NDArray[np.str_]
    sources: list[str]


class Judge:
    """Gives the reasons of crops, many at a time, as `Measurer` does one by one."""

    def __init__(self) -> None:
        self._network = DamageNetwork()

    def values(self, crops: Sequence[NDArray[np.uint8]]) -> list[dict[str, float]]:
        """Return the measures that crops alone give."""
        found = []
        for start in range(0, len(crops), BATCH):
            batch = np.stack(crops[start : start + BATCH])
            learned = self._network.measures(batch)
            found += [values | light(crop) for values, crop in zip(learned, batch, strict=True)]
        return found

    def codes(self, crops: Sequence[NDArray[np.uint8]]) -> list[Codes]:
        """Return the codes of the reasons that crops alone give, the worst first."""
        return [codes_of(values) for values in self.values(crops)]


def codes_of(values: dict[str, float]) -> Codes:
    """Return the codes of the reasons that follow from values of measures."""
    return tuple(reason.code for reason in find_reasons({name: make_measure(name, v) for name, v in values.items()}))


def read_people(data: Path, work: Path, split: str) -> tuple[Manifest, list[int]]:
    """Return the images of a split's people, as the recipe divides them."""
    recipe = read_recipe("fiqa-reasons")
    section = dict(recipe["prepare"])
    settings = settings_from(PrepareSettings, {name: section[name] for name in section if name != "sources"})
    work.mkdir(parents=True, exist_ok=True)
    manifest = joined([read_source(source) for source in unpacked(sources_of_recipe(section, data), work)])
    splits = split_people(manifest.identities, settings)
    return manifest, [row for row, name in enumerate(manifest.identities) if splits[name] == split]


def some_of(manifest: Manifest, rows: Sequence[int], pattern: str, each: int) -> People:
    """Read at most `each` pictures of a person whose names match a pattern, always the same ones."""
    sources, names = manifest.column("source"), manifest.identities
    counts: Counter[str] = Counter()
    chosen = []
    for row in np.random.default_rng(0).permutation(rows).tolist():
        if fnmatch(sources[row], pattern) and counts[names[row]] < each:
            counts[names[row]] += 1
            chosen.append(row)
    chosen.sort()
    faces = read_faces(manifest, chosen, "*/profile_*")
    assert len(faces) == len(chosen), "a test picture cannot be read"
    return People(faces, np.array([names[row] for row in chosen]), [sources[row] for row in chosen])


def share(hits: NDArray[np.bool_], names: NDArray[np.str_]) -> str:
    """Return a share, %, with its interval by a bootstrap over people; an exact one where it is 0 or 1."""
    _, person = np.unique(names, return_inverse=True)
    good = np.bincount(person, hits).astype(float)
    count = np.bincount(person).astype(float)
    draws = np.random.default_rng(0).integers(len(good), size=(DRAWS, len(good)))
    low, high = np.quantile(good[draws].sum(1) / count[draws].sum(1), (0.025, 0.975))
    if hits.all() or not hits.any():
        low, high = exact_interval(float(hits.mean()), len(count))
    return f"{100 * hits.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def damaged(
    people: People, draw: Callable[[int, np.random.Generator], list[Damage]], seed: int
) -> list[NDArray[np.uint8]]:
    """Return damaged copies of all faces, black outside of their picture."""
    crops = []
    for row, face in enumerate(people.faces.crops):
        rng = np.random.default_rng([seed, row])
        damages = draw(row, rng)
        crop, edge = degrade(face, damages, rng), people.faces.edges.get(row)
        crops.append(crop if edge is None or "misalignment" in dict(damages) else blacken(crop, edge))
    return crops


def one_kind(kind: str, low: float, high: float, row: int, rng: np.random.Generator) -> list[Damage]:
    """Draw the grade of a kind."""
    return [(kind, rng.uniform(low, high))]


def show_kinds(judge: Judge, people: People) -> None:
    """Print how often one kind of damage is the first reason."""
    print(f"\n## One kind of damage: {len(people.names)} faces of {len(set(people.names))} people\n")
    print("| kind | grade | first reason, % | named, % | other first reasons |\n| --- | --- | --- | --- | --- |")
    for band, (low, high) in enumerate(BANDS):
        all_first, all_named = [], []
        for number, kind in enumerate(DEGRADATIONS):
            code = SCALES[MEASURE_OF[kind]].code
            crops = damaged(people, partial(one_kind, kind, low, high), 10 * number + band)
            codes = judge.codes(crops)
            first = np.array([found[:1] == (code,) for found in codes])
            named = np.array([code in found for found in codes])
            others = Counter(found[0] if found else "none" for found in codes if found[:1] != (code,))
            most = ", ".join(f"{name} {100 * count / len(codes):.1f}" for name, count in others.most_common(3))
            print(
                f"| {kind} | {low} to {high} | {share(first, people.names)} | {share(named, people.names)} | {most} |"
            )
            all_first.append(first)
            all_named.append(named)
        names = np.tile(people.names, len(all_first))
        pooled = share(np.concatenate(all_first), names), share(np.concatenate(all_named), names)
        print(f"| all | {low} to {high} | {pooled[0]} | {pooled[1]} | |")


def show_pairs(judge: Judge, people: People) -> None:
    """Print how often both of two kinds are among the first three reasons."""
    pairs = list(combinations(DEGRADATIONS, 2))
    crops = damaged(
        people, lambda row, rng: [(kind, 0.75 * rng.uniform(0.5, 1)) for kind in pairs[row % len(pairs)]], 1000
    )
    both = np.array(
        [
            all(SCALES[MEASURE_OF[kind]].code in found[:3] for kind in pairs[row % len(pairs)])
            for row, found in enumerate(judge.codes(crops))
        ]
    )
    print(
        f"\n## Two kinds of damage, both among the first three reasons, %\n\nall pairs: {share(both, people.names)}\n"
    )
    print("| first kind | second kind | both, % |\n| --- | --- | --- |")
    rates = sorted((both[place :: len(pairs)].mean(), pair) for place, pair in enumerate(pairs))
    for rate, (one, other) in rates:
        print(f"| {one} | {other} | {100 * rate:.0f} |")


def show_clean(judge: Judge, manifest: Manifest, rows: Sequence[int]) -> None:
    """Print the reasons of clean faces of LFW."""
    sources = manifest.column("source")
    chosen = [row for row in rows if fnmatch(sources[row], "lfw/*")]
    codes = []
    for start in range(0, len(chosen), 512):
        images = [manifest.load_image(row) for row in chosen[start : start + 512]]
        values = judge.values([align(image, landmarks) for image, landmarks in images if landmarks is not None])
        codes += [
            codes_of(value | geometry(landmarks, *image.shape[:2]))
            for value, (image, landmarks) in zip(values, images, strict=True)
            if landmarks is not None
        ]
    show_rates("Clean faces of LFW", codes, np.array([manifest.identities[row] for row in chosen]))


def show_rates(title: str, codes: Sequence[Codes], names: NDArray[np.str_]) -> None:
    """Print how often there is any reason of damage to the picture, and each reason."""
    print(f"\n## {title}: {len(codes)} faces of {len(set(names))} people\n\n| reason | faces, % |\n| --- | --- |")
    any_of = np.array([bool(DAMAGE_CODES & set(found)) for found in codes])
    print(f"| any damage to the picture | {share(any_of, names)} |")
    for scale in SCALES.values():
        if scale.code:
            print(f"| {scale.code} | {share(np.array([scale.code in found for found in codes]), names)} |")


def show_turned(judge: Judge, manifest: Manifest, rows: Sequence[int]) -> None:
    """Print how often frontal and profile faces of CFP are "turned"."""
    print("\n## CFP: `turned`, %\n\n| pictures | border | turned, % | yaw, median | any damage, % |")
    print("| --- | --- | --- | --- | --- |")
    sources = manifest.column("source")
    for what in ("frontal", "profile"):
        chosen = [row for row in rows if fnmatch(sources[row], f"cfp/*/{what}_*")]
        images = [manifest.load_image(row) for row in chosen]
        names = np.array([manifest.identities[row] for row in chosen])
        for border in ("black", "replicate"):
            crops = [align(image, marks, border=border) for image, marks in images if marks is not None]
            values = judge.values(crops)
            yaw = np.median([value["yaw"] for value in values])
            codes = [codes_of(value) for value in values]
            turned = share(np.array(["turned" in found for found in codes]), names)
            damage = share(np.array([bool(DAMAGE_CODES & set(found)) for found in codes]), names)
            print(f"| {what}, {len(codes)} | {border} | {turned} | {yaw:.0f} | {damage} |")


def show_london(folder: Path) -> None:
    """Print the reasons of the London set, by group."""
    with (folder / "info.csv").open(encoding="utf-8") as file:
        people = {row["face_id"].zfill(3): row for row in csv.DictReader(file)}
    codes, owners = [], []
    with QualityScorer(device="cpu", threads=1, reasons=True, detector=FaceDetector()) as scorer:
        for path in sorted(folder.glob("*/*.jpg")):
            faces = scorer.assess(path)
            if faces and path.parent.name in people:
                codes.append(tuple(reason.code for reason in faces[0].reasons or ()))
                owners.append(path.parent.name)
    show_rates("London", codes, np.array(owners))
    rows = [people[name] for name in sorted(set(owners))]
    groups: Groups = make_groups(rows, ("face_eth", "face_gender"))
    place = {name: number for number, name in enumerate(sorted(set(owners)))}
    person = np.array([place[name] for name in owners])
    any_of = np.array([bool(DAMAGE_CODES & set(found)) for found in codes])
    print("\n| group | people | any damage to the picture, % | which |\n| --- | --- | --- | --- |")
    for name, members in zip(groups.names, groups.members, strict=True):
        inside = members[person]
        which = Counter(code for found, there in zip(codes, inside, strict=True) if there for code in found)
        text = ", ".join(f"{code} {count}" for code, count in which.most_common(4))
        print(f"| {name} | {members.sum()} | {share(any_of[inside], np.array(owners)[inside])} | {text} |")


def show_cost() -> None:
    """Print the time of all measures and reasons of one face."""
    measurer = Measurer()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (720, 1280, 3), np.uint8)
    marks = np.array([(600, 300), (680, 300), (640, 345), (607, 392), (674, 392)], np.float32)
    face, crop = Face((560, 240, 160, 200), marks, 0.9), align(image, marks)
    times = []
    for _ in range(2000):
        start = time.perf_counter()
        measurer.reasons(measurer.faces(image, [face], [crop])[0])
        times.append(time.perf_counter() - start)
    low, middle, high = np.quantile(np.array(times[100:]) * 1e3, (0.05, 0.5, 0.95))
    print(f"\n## Cost\n\n{middle:.2f} ms a face, one thread (5 to 95 %: {low:.2f} to {high:.2f})")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--split", default="test", choices=("validation", "test"))
    parser.add_argument("--each", type=int, default=2, help="damaged faces of a person")
    given = parser.parse_args()
    manifest, rows = read_people(given.data, given.work, given.split)
    judge = Judge()
    show_cost()
    show_clean(judge, manifest, rows)
    if given.split == "test":
        show_london(unpack(given.data / "london.tar", given.work / "london"))
    show_turned(judge, manifest, rows)
    people = some_of(manifest, rows, "lfw/*", given.each)
    show_kinds(judge, people)
    show_pairs(judge, people)


if __name__ == "__main__":
    main()

"""Compare scores of groups of people, and how many of their pictures a threshold turns away.

    python benchmarks/scores_by_group.py FOLDER --model fiqa-nano --lightqnet lightqnet-dm100.pb --damaged

FOLDER is the Face Research Lab London Set, or one like it: `info.csv` has the columns `face_id`, `face_gender` and
`face_eth`, and each `face_id` has a folder of photos. A group is a value that at least two people have. The largest
face of each photo is scored.

- A threshold turns away 20 % of all pictures, or a little less: pictures with the same score are turned away together
  or not at all. The last column has another threshold: each group of `face_eth` weighs the same when it is found.
- Intervals (95 %) are a bootstrap over people. Each draw finds its own thresholds.
- Even equal groups have a largest gap above 0. "By chance" is the gap that 5 % of random groups of these sizes exceed.
- `--people choose` takes half of the people, always the same ones, to choose a model by. `--people show` takes the
  others.
- `--damaged` damages all pictures in the same ways, with the same random numbers. It should cost all groups the same.
"""

import argparse
import csv
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scorers import add_model_options, largest_face, load_scorers, score_faces

from fiqa import FaceDetector
from train.degradations.graded import COLLAPSE, DEGRADATIONS, Damage, degrade, describe
from train.evaluation.by_group.statistics import (
    RATE,
    Floats,
    Gap,
    Groups,
    Measure,
    Result,
    half,
    make_groups,
    means,
    measure_groups,
    shares_turned_away,
    turned_away,
)

ETHNICITY, GENDER = "face_eth", "face_gender"

DAMAGES: list[list[Damage]] = [[(kind, grade)] for kind in DEGRADATIONS for grade in (0.25, 0.5)]
DAMAGES.append([(kind, 0.5) for kind in COLLAPSE])

COPIES = 4
"""Copies of each picture for each damage, with other random numbers."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Faces of people.

    Attributes:
        crops: uint8 BGR (N, 112, 112, 3).
        owners: (N,) person of each crop.
        groups: The groups of the people.
        strata: Ethnicity and gender of each person.
    """

    crops: NDArray[np.uint8]
    owners: NDArray[np.int64]
    groups: Groups
    strata: list[str]

    def evaluate(self, measure: Measure) -> Result:
        """Evaluate a measure of the groups."""
        return measure_groups(measure, self.groups, self.strata)

    def row(self, cells: list[str], gaps: dict[str, str]) -> list[str]:
        """Return the groups' cells, and after the last group of a kind the cell of the kind's largest gap."""
        kinds, row = self.groups.kinds, []
        for index, (cell, kind) in enumerate(zip(cells, kinds, strict=True)):
            row += [cell, gaps[kind]] if kind and kind not in kinds[index + 1 :] else [cell]
        return row


def read_pictures(folder: Path, people: str, detector: FaceDetector) -> Pictures:
    """Cut out the largest face of each picture of all people, or of one half of them."""
    with (folder / "info.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    if people != "all":
        rows = half(rows, (ETHNICITY, GENDER), "face_id", first=people == "choose")
    crops, owners = [], []
    for person, row in enumerate(rows):
        for path in sorted((folder / row["face_id"]).glob("*.jpg")):
            crop = largest_face(detector, path)
            if crop is not None:
                crops.append(crop)
                owners.append(person)
    strata = [f"{row[ETHNICITY]} {row[GENDER]}" for row in rows]
    return Pictures(np.stack(crops), np.array(owners), make_groups(rows, (ETHNICITY, GENDER)), strata)


def damaged_copies(crops: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Make damaged copies: a damage and uint8 (COPIES * N, 112, 112, 3), copy after copy. All crops get the same."""
    for damages in DAMAGES:
        seeds = [[copy, zlib.crc32(describe(damages).encode())] for copy in range(COPIES)]
        copies = [degrade(crop, damages, np.random.default_rng(seed)) for seed in seeds for crop in crops]
        yield describe(damages), np.stack(copies)


def print_row(cells: list[str]) -> None:
    """Print a row of a Markdown table."""
    print(f"| {' | '.join(cells)} |")


def print_header(cells: list[str]) -> None:
    """Print the head of a Markdown table."""
    print_row(cells)
    print_row(["---"] * len(cells))


def score_text(value: float) -> str:
    """Write a score."""
    return f"{value:.3f}"


def share_text(value: float) -> str:
    """Write a share in percent."""
    return f"{100 * value:.0f} %"


def gap_text(gap: Gap, text: Callable[[float], str]) -> str:
    """Write a gap, its interval, and what chance gives."""
    return f"{text(gap.value)} ({text(gap.low)} to {text(gap.high)}; by chance {text(gap.chance)})"


def print_scores(pictures: Pictures, scores: Floats) -> None:
    """Print means and shares turned away, a row a group, and the largest gaps."""
    groups, owners = pictures.groups, pictures.owners
    results = [
        (pictures.evaluate(means(scores, owners)), score_text),
        (pictures.evaluate(shares_turned_away(scores, owners)), share_text),
        (pictures.evaluate(shares_turned_away(scores, owners, balance=ETHNICITY)), share_text),
    ]
    threshold = scores[~turned_away(scores, np.ones(len(scores)))].min()
    print(f"{len(scores)} pictures. {RATE:.0%} are turned away by a threshold of {threshold:.3f}.\n")
    print_header(["group", "people", "mean score", "deviation", "turned away", "turned away, groups weigh the same"])
    for index, (name, kind) in enumerate(zip(groups.names, groups.kinds, strict=True)):
        people = groups.members[index]
        cells = [
            f"{text(result.values[index])} ({' to '.join(map(text, result.intervals[index]))})"
            for result, text in results
        ]
        print_row([name, str(people.sum()), cells[0], score_text(scores[people[owners]].std()), *cells[1:]])
        if kind and kind not in groups.kinds[index + 1 :]:
            cells = [gap_text(result.gaps[kind], text) for result, text in results]
            share = results[0][0].gaps[kind].value / scores.std()
            print_row([f"largest gap, {kind}", "", cells[0], f"{share:.1f} deviations of everybody", *cells[1:]])
    print()


def print_damaged(pictures: Pictures, clean: Floats, damaged: dict[str, Floats]) -> None:
    """Print the loss of score by damage, and the shares of the damaged pictures that are turned away."""
    owners = np.tile(pictures.owners, COPIES)
    losses = {damage: np.tile(clean, COPIES) - scores for damage, scores in damaged.items()}
    print("Loss of score, clean less damaged:\n")
    print_by_damage(pictures, owners, losses, means, score_text)
    print(f"Share turned away, where it is {RATE:.0%} of the pictures with the damage:\n")
    print_by_damage(pictures, owners, damaged, shares_turned_away, share_text)


def print_by_damage(
    pictures: Pictures,
    owners: NDArray[np.int64],
    values: dict[str, Floats],
    measure: Callable[[Floats, NDArray[np.int64]], Measure],
    text: Callable[[float], str],
) -> None:
    """Print a measure of the groups, a row a damage, and of all damages together."""
    groups = pictures.groups
    print_header(["damage", *pictures.row(list(groups.names), dict.fromkeys(groups.kinds, "largest gap"))])
    for damage, of_damage in values.items():
        found = measure(of_damage, owners)(groups, np.ones(len(pictures.strata)))
        gaps = {kind: text(groups.gap(found, kind)) for kind in groups.kinds[1:]}
        print_row([damage, *pictures.row(list(map(text, found)), gaps)])
    result = pictures.evaluate(measure(np.concatenate(list(values.values())), np.tile(owners, len(values))))
    gaps = {kind: gap_text(gap, text) for kind, gap in result.gaps.items()}
    print_row(["all", *pictures.row(list(map(text, result.values)), gaps)])
    print()


def main() -> None:
    """Score all pictures by all models, print the tables of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    add_model_options(parser)
    parser.add_argument("--detector", default="fiqa-detector", help="name in the catalogue, or model file")
    parser.add_argument("--people", choices=("all", "choose", "show"), default="all")
    parser.add_argument("--damaged", action="store_true", help="damaged copies, too")
    options = parser.parse_args()
    models = load_scorers(options)
    pictures = read_pictures(options.folder, options.people, FaceDetector(options.detector))
    clean = score_faces(models, pictures.crops)
    damaged: dict[str, dict[str, Floats]] = {name: {} for name in models}
    if options.damaged:
        for damage, copies in damaged_copies(pictures.crops):
            for name, scores in score_faces(models, copies).items():
                damaged[name][damage] = scores
    for name in models:
        print(f"### {name}\n")
        print_scores(pictures, clean[name])
        if options.damaged:
            print_damaged(pictures, clean[name], damaged[name])


if __name__ == "__main__":
    main()

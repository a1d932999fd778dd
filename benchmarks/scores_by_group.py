"""Compare scores of groups of people: `python benchmarks/scores_by_group.py FOLDER [--model MODEL]`.

FOLDER is the Face Research Lab London Set, or one like it: `info.csv` has the columns `face_id`, `face_gender` and
`face_eth`, and each `face_id` has a folder of photos. A person's score is the mean of their photos'.
"""

import argparse
import csv
import statistics
from collections import defaultdict
from pathlib import Path

from fiqa import QualityScorer


def main() -> None:
    """Score all people, print a row a group."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="fiqa-nano")
    options = parser.parse_args()
    with (options.folder / "info.csv").open(encoding="utf-8") as table, QualityScorer(options.model) as scorer:
        groups: dict[str, list[float]] = defaultdict(list)
        for row in csv.DictReader(table):
            photos = sorted((options.folder / row["face_id"]).glob("*.jpg"))
            score = statistics.mean(scorer.assess(photo)[0].score for photo in photos)
            for group in ("everybody", row["face_gender"], row["face_eth"]):
                groups[group].append(score)
    print("| group | people | mean score (deviation) |\n| --- | --- | --- |")
    for group, scores in sorted(groups.items()):
        deviation = f" ({statistics.stdev(scores):.2f})" if len(scores) > 1 else ""
        print(f"| {group} | {len(scores)} | {statistics.mean(scores):.2f}{deviation} |")


if __name__ == "__main__":
    main()

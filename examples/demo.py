"""Score a face and its graded bad copies with the command `fiqa`, offline: `python examples/demo.py [OUT]`.

Writes the copies, a table and a report page into OUT (default: `demo`), and prints how the score falls with every kind
of damage. Exit code 1 when it does not.
"""

import csv
import subprocess
import sys
from pathlib import Path

from media.make_bad_copies import GRADES, make_bad_copies


def main() -> int:
    """Make the copies, score them, and print; returns the exit code."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    names = [path.stem for path in make_bad_copies(out / "faces")]
    table, page = out / "scores.csv", out / "report.html"
    command = ["score", str(out / "faces"), "--aligned", "--out", str(table), "--report", str(page)]
    if subprocess.run([sys.executable, "-m", "fiqa", *command], check=False).returncode != 0:
        return 1
    with table.open(newline="", encoding="utf-8") as file:
        scores = {Path(row["path"]).stem: float(row["score"]) for row in csv.DictReader(file)}
    falls = print_scores(names, scores)
    print(f"\nall scores: {table}\nreport:     {page.resolve()}")
    return 0 if falls else 1


def print_scores(names: list[str], scores: dict[str, float]) -> bool:
    """Print a line for each kind of damage; returns whether every kind, at its worst, costs score."""
    kinds = dict.fromkeys(name.rpartition("-")[0] for name in names if name != "good")
    print(f"{'score after damage of':22}" + "".join(f"{f'{grade} %':>9}" for grade in (0, *GRADES)))
    falls = True
    for kind in kinds:
        line = [scores["good"], *(scores[f"{kind}-{grade}"] for grade in GRADES)]
        falls &= line[-1] < min(line[0], line[1])
        print(f"{kind.replace('_', ' '):22}" + "".join(f"{score:9.3f}" for score in line))
    print("every kind of damage lowers the score" if falls else "NOT every kind of damage lowers the score")
    return falls


if __name__ == "__main__":
    sys.exit(main())

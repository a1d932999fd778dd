"""Score a face and its graded bad copies with the embedded model, offline: `python examples/demo.py [OUT]`.

Writes the copies, a table and a report page into OUT (default: `demo`), and prints how the score falls with every kind
of damage. Exit code 1 when it does not.
"""

import sys
import time
from pathlib import Path

from media.make_bad_copies import GRADES, make_bad_copies

from sdk import FiqaError, QualityScorer
from sdk.results_io.report import Run, write_page
from sdk.results_io.scoring import ScoredFace, score_files
from sdk.results_io.tables import Table
from sdk.results_io.tally import FACES, Tally


def main() -> int:
    """Make the copies, score them, write and print; returns the exit code."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    paths = make_bad_copies(out / "faces")
    try:
        with QualityScorer() as scorer:
            started = time.perf_counter()
            tally, faces = Tally(FACES), list[ScoredFace]()
            with Table(out / "scores.csv") as table:
                for found in score_files(scorer, paths, aligned=True, thumbnails=True):
                    table.add(found)
                    tally.add(found)
                    faces += found
            run = Run(scorer.card, scorer.device, time.perf_counter() - started)
        write_page(out / "report.html", tally, run)
    except FiqaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    falls = print_scores(faces)
    print(f"\nall scores: {out / 'scores.csv'}\nreport:     {(out / 'report.html').resolve()}")
    return 0 if falls else 1


def print_scores(faces: list[ScoredFace]) -> bool:
    """Print a line for each kind of damage; returns whether every kind, at its worst, costs score."""
    scores = {face.path.stem: face.score for face in faces}
    good = scores.pop("good")
    kinds = list(dict.fromkeys(name.rpartition("-")[0] for name in scores))
    print(f"{'score after damage of':22}" + "".join(f"{f'{grade} %':>9}" for grade in (0, *GRADES)))
    falls = True
    for kind in kinds:
        line = [good, *(scores[f"{kind}-{grade}"] for grade in GRADES)]
        falls &= line[-1] < min(line[0], line[1])
        print(f"{kind.replace('_', ' '):22}" + "".join(f"{score:9.3f}" for score in line))
    print("every kind of damage lowers the score" if falls else "NOT every kind of damage lowers the score")
    return falls


if __name__ == "__main__":
    sys.exit(main())

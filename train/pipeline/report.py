"""The report of an adaptation: does the new model beat the one in the package, and which threshold to take."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdk.decision.calibration import Calibration
from sdk.files import write_file
from sdk.models.catalog import catalog
from sdk.text import count
from train.data.manifest import read_table
from train.evaluation.curves import FEWEST_ERRORS
from train.evaluation.results.tables import TOO_FEW
from train.pipeline.files import Files
from train.pipeline.teacher import Teacher

BEYOND_CHANCE = 0.975
"""Share of the bootstrap draws from which on one model is better beyond chance."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure of the new model beside that of the model in the package.

    Attributes:
        set: Set of images, see `train.evaluation.sets.SETS`.
        rate: Discard rate.
        errors: Number of mated comparisons that fail.
        new: pAUC of the new model; lower is better. None without an error.
        old: pAUC of the model in the package.
        share: Share of the bootstrap draws in which the new model is better.
    """

    set: str
    rate: str
    errors: int
    new: float | None
    old: float | None
    share: float | None

    @property
    def words(self) -> str:
        """The answer: better, worse, no difference beyond chance, or too few errors to tell."""
        if self.errors < FEWEST_ERRORS or self.share is None:
            return TOO_FEW
        if self.share >= BEYOND_CHANCE:
            return "better"
        return "worse" if self.share <= 1 - BEYOND_CHANCE else "no difference beyond chance"

    def figures(self) -> list[str]:
        """Return the cells of a table's row."""
        told = self.errors >= FEWEST_ERRORS
        values = [f"{value:.3f}" if told and value is not None else "" for value in (self.new, self.old, self.share)]
        return [self.set, f"{float(self.rate):.0%}", str(self.errors), *values, self.words]


HEADS = ("set", "discarded", "errors", "pAUC, adapted", "pAUC, fiqa-nano", "share of draws", "adapted is")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an adaptation.

    Attributes:
        teacher: The face-recognition model.
        model: Path of the new model.
        calibration: Its calibration, or why there is none.
        verdicts: The comparison with the model in the package.
        seconds: Time that the run took, since it was last started.
    """

    teacher: Teacher
    model: Path
    calibration: Calibration | str
    verdicts: Sequence[Verdict]
    seconds: float


def verdicts(table: Path, new: str, old: str) -> list[Verdict]:
    """Read the comparison of two methods from the `table.csv` of an evaluation, whose first method is `new`.

    Raises:
        InputError: The table cannot be read.
    """
    rows = [row for row in read_table(table).to_pylist() if row["method"]]
    names = [name.partition("@")[2] for name in rows[0] if name.startswith("pauc@")]
    found = []
    for first in (row for row in rows if row["method"] == new):
        other = next(
            row for row in rows if row["method"] == old and (row["set"], row["fmr"]) == (first["set"], first["fmr"])
        )
        for rate in names:
            values = [_number(row[name]) for row, name in (
                (first, f"pauc@{rate}"), (other, f"pauc@{rate}"), (other, f"first_better@{rate}")
            )]  # fmt: skip
            found.append(Verdict(first["set"], rate, int(first["errors"]), *values))
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def write_report(outcome: Outcome, files: Files, recipe: str) -> Path:
    """Write `report.html`: one page, with its picture inside."""
    path = files.folder / "report.html"
    write_file(path, _page(outcome, files, recipe))
    return path


def _page(outcome: Outcome, files: Files, recipe: str) -> str:
    model, calibration = outcome.teacher.model, outcome.calibration
    lines = [
        "<!doctype html><meta charset='utf-8'><title>fiqa-train adapt</title>",
        "<style>body{font:16px sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #ccc}img{max-width:100%}"
        "pre{background:#f4f4f4;padding:1rem;overflow:auto}</style>",
        f"<h1>A quality model for {_text(Path(model).name)}</h1>",
        "<p>On people who were not trained on, compared by this face-recognition model at FMR 0.001. pAUC: lower is "
        "better, 1 is a random discard. Share of draws: in so many draws of people the adapted model is better.</p>",
        _table(HEADS, [verdict.figures() for verdict in outcome.verdicts]),
        f"<h2>Use it</h2><pre>{_text(commands(outcome))}</pre>",
        "<h2>Threshold</h2>",
    ]
    if isinstance(calibration, str):
        lines.append(f"<p>No calibration: {_text(calibration)}</p>")
    else:
        lines.append(
            f"<p>{count('person', calibration.people, 'people')} with several photos, {calibration.comparisons} "
            f"comparisons, {count('error', calibration.errors)}.</p>"
        )
        points = [
            [
                each.name,
                f"{each.target:g}",
                f"{each.score:.3f} ({each.interval})",
                f"{each.faces:.1%}",
            ]
            for each in calibration.thresholds
        ]
        lines.append(_table(("point", "FNMR", "score (95 %)", "faces turned away"), points) if points else "")
        lines += [f"<p>Undecided: {_text(text)}</p>" for text in calibration.undecided]
    picture = files.folder / "evaluation" / "edc.png"
    if picture.exists():
        data = base64.b64encode(picture.read_bytes()).decode()
        lines.append(f"<h2>Error versus discard</h2><img alt='curves' src='data:image/png;base64,{data}'>")
    lines += [
        f"<h2>Licence</h2><p>{_text(licence_note(outcome.teacher))}</p>",
        f"<h2>Recipe</h2><pre>{_text(recipe)}</pre>",
    ]
    return "\n".join(lines)


def commands(outcome: Outcome) -> str:
    """Return the commands that use the model."""
    calibrated = not isinstance(outcome.calibration, str)
    beside = outcome.model.parent.parent / "calibration.json"
    return f"fiqa score PHOTOS --model {outcome.model}" + (f" --calibration {beside}" if calibrated else "")


def licence_note(teacher: Teacher) -> str:
    """Return what the licence of the face-recognition model means for the new model."""
    entry = catalog().get(teacher.model)
    if entry is None:
        return "The model is as free as the photos and the face-recognition model: look at their terms."
    return f"{teacher.model}: {entry.card.licence}. {entry.ship_reason} The same holds for the adapted model."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{_text(head)}</th>" for head in heads) + f"</tr>{cells}</table>"


def _text(text: str) -> str:
    return html.escape(text)

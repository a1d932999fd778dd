"""What the rows of an earlier run say of its threshold and calibration."""

from sdk.errors import InputError
from sdk.results_io.scored_face import ScoredFace
from sdk.scorer import QualityScorer
from sdk.text import path_text

ROUNDING = 1e-6
"""Largest difference between a score and its text in a table."""


class EarlierDecisions:
    """Compare the decisions in a table with those of the run that goes on with it.

    It keeps, for each quality and each decision, the lowest score and the highest, with their files.
    """

    def __init__(self) -> None:
        self._ends: dict[tuple[int | None, bool | None], tuple[tuple[float, str], tuple[float, str]]] = {}

    def add(self, face: ScoredFace) -> None:
        """Take in a row."""
        if face.score is not None:
            one = face.score, path_text(face.path)
            low, high = self._ends.get((face.quality, face.accepted), (one, one))
            self._ends[face.quality, face.accepted] = min(low, one), max(high, one)

    def check(self, scorer: QualityScorer) -> None:
        """Refuse a table whose rows the scorer would decide otherwise.

        Raises:
            InputError: A row has another quality or another decision. The message names it.
        """
        for found, ends in self._ends.items():
            for score, name in ends:
                wanted = [scorer.decide(near) for near in (score - ROUNDING, score, score + ROUNDING)]
                if found not in wanted:
                    quality, accepted = map(_text, found)
                    other_quality, other_accepted = map(_text, wanted[1])
                    raise InputError(
                        f"the table has quality {quality}, accepted {accepted} for {name} with the score {score:g}; "
                        f"this run would write {other_quality}, {other_accepted}: go on with the same --threshold, "
                        "--accept and --calibration, or give another --out"
                    )


def _text(value: object) -> str:
    return "none" if value is None else str(value).lower()

"""What a model's scores mean: a calibration, and its file.

`quality`, 0 to 100 (ISO/IEC 29794-1: higher is better), is a match rate: of 100 mated comparisons in which this face is
the worse one of the two, so many succeed, at the calibration's false-match rate with its face-recognition model. Below
the lowest score that was compared, quality is that of the lowest one: an upper bound, for the curve never falls. A
calibration is made by `fiqa calibrate` (`sdk.decision.fitting`). To apply one takes NumPy alone.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdk.arguments import is_finite
from sdk.errors import InputError
from sdk.files import read_file, write_json
from sdk.text import shortened

VERSION = 1
"""Of the file. A file of another version is refused."""

MOST_KNOTS = 64
"""Most points of the curve."""

MOST_BYTES = 1 << 20
"""Largest file that is read."""

POINTS = ("enrol", "identify")
"""Names of the operating points: the strict one, and the lenient one."""

_DIGEST = re.compile("([0-9a-f]{64})?")


@dataclass(frozen=True, slots=True)
class Threshold:
    """An operating point: the score from which on faces are accepted.

    Attributes:
        name: One of `POINTS`.
        by: `fnmr`: of the mated comparisons whose both faces are accepted, at most `target` fail. `discard`: a share
            `target` of the faces is turned away, whatever they are worth.
        target: See `by`.
        score: Faces with this score or a higher one are accepted.
        low: Lower end of the 95 % interval of `score`.
        high: Its upper end. Where both are equal, the score may be lower: no comparison between tells.
        faces: Share of the faces that are turned away.
        comparisons: Share of the mated comparisons that are turned away with them; None where there are none.

    Raises:
        InputError: A value is wrong.
    """

    name: str
    by: Literal["fnmr", "discard"]
    target: float
    score: float
    low: float
    high: float
    faces: float
    comparisons: float | None = None

    def __post_init__(self) -> None:
        _check(self.name in POINTS, "name of a threshold", self.name, f"one of: {', '.join(POINTS)}")
        _check(self.by in ("fnmr", "discard"), "'by' of a threshold", self.by, "fnmr or discard")
        for name in ("target", "faces", "comparisons"):
            value = getattr(self, name)
            if value is not None or name != "comparisons":
                _check(_is_share(value), f"{name} of a threshold", value, "a share from 0 to 1")
        bounds = (self.low, self.score, self.high)
        _check(all(map(_is_number, bounds)), "score of a threshold with its interval", bounds, "numbers")
        _check(self.low <= self.score <= self.high, "score of a threshold with its interval", bounds, "them in order")

    @property
    def interval(self) -> str:
        """The 95 % interval in words."""
        return f"at most {self.high:.3f}" if self.low == self.high else f"{self.low:.3f} to {self.high:.3f}"


@dataclass(frozen=True, slots=True)
class Calibration:
    """See the module.

    Attributes:
        model: Name of the model whose scores it is for.
        model_sha256: SHA-256 of the model's file; empty only where the calibration is a part of the model's card.
        judge: Face-recognition model that decided the matches; empty where none did.
        judge_sha256: SHA-256 of its file; empty where it was not given as a file.
        fmr: False-match rate of the judge's threshold.
        judge_threshold: The judge's threshold, a cosine similarity.
        people: Number of people.
        images: Number of images.
        comparisons: Number of mated comparisons.
        errors: How many of them fail.
        scores: Increasing scores of the curve, at most `MOST_KNOTS`; none without a judge, or where too few comparisons
            fail.
        rates: Match rates at these scores, in [0, 1], never falling.
        thresholds: At most one of each name.
        undecided: What the pictures could not decide, and what it would take, for people.

    Raises:
        InputError: A value is wrong.
    """

    model: str
    model_sha256: str = ""
    judge: str = ""
    judge_sha256: str = ""
    fmr: float | None = None
    judge_threshold: float | None = None
    people: int = 0
    images: int = 0
    comparisons: int = 0
    errors: int = 0
    scores: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    undecided: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("model", "model_sha256", "judge", "judge_sha256"):
            value = getattr(self, name)
            _check(isinstance(value, str) and len(value) <= 500, name, value, "text")
        _check(bool(self.model), "model", self.model, "the name of a model")
        for name in ("model_sha256", "judge_sha256"):
            value = getattr(self, name)
            _check(bool(_DIGEST.fullmatch(value)), name, value, "64 hexadecimal digits, or nothing")
        for name in ("people", "images", "comparisons", "errors"):
            value = getattr(self, name)
            _check(type(value) is int and value >= 0, name, value, "a whole number")
        for name, most in (("people", "images"), ("errors", "comparisons")):
            value, limit = getattr(self, name), getattr(self, most)
            _check(value <= limit, name, value, f"at most the number of {most}, {limit}")
        if self.fmr is not None:
            _check(_is_share(self.fmr) and 0 < self.fmr < 1, "fmr", self.fmr, "a share above 0 and below 1")
        _check(
            self.judge_threshold is None or _is_number(self.judge_threshold),
            "judge_threshold", self.judge_threshold, "a number",
        )  # fmt: skip
        self._check_curve()
        thresholds = tuple(_part(Threshold, "threshold", item) for item in _list("thresholds", self.thresholds))
        names = [item.name for item in thresholds]
        _check(len(set(names)) == len(names), "thresholds", names, "each name once")
        rising = [item.score for name in reversed(POINTS) for item in thresholds if item.name == name]
        _check(rising == sorted(rising), "identify and enrol", rising, "scores in this order, the strict one last")
        undecided = tuple(_list("undecided", self.undecided))
        _check(all(isinstance(item, str) for item in undecided), "undecided", undecided, "texts")
        object.__setattr__(self, "thresholds", thresholds)
        object.__setattr__(self, "undecided", undecided)

    def _check_curve(self) -> None:
        scores, rates = tuple(_list("scores", self.scores)), tuple(_list("rates", self.rates))
        _check(len(scores) <= MOST_KNOTS, "curve", f"{len(scores)} points", f"at most {MOST_KNOTS}")
        _check(len(scores) == len(rates), "curve", f"{len(scores)} scores and {len(rates)} rates", "equally many")
        _check(all(map(_is_number, scores)), "scores", scores, "numbers")
        _check(all(map(_is_share, rates)), "rates", rates, "shares from 0 to 1")
        _check(all(a < b for a, b in pairwise(scores)), "scores", scores, "rising numbers")
        _check(all(a <= b for a, b in pairwise(rates)), "rates", rates, "numbers that never fall")
        object.__setattr__(self, "scores", tuple(map(float, scores)))
        object.__setattr__(self, "rates", tuple(map(float, rates)))

    def match_rates(self, scores: ArrayLike) -> NDArray[np.float64] | None:
        """Return the match rate in [0, 1] of each score, of the same shape; None where there is no curve.

        A straight line joins the points of the curve, and its ends go on level: below the lowest score the rate is at
        most that of the lowest one. NaN stays NaN.
        """
        if not self.scores:
            return None
        return np.asarray(np.interp(np.asarray(scores, np.float64), self.scores, self.rates), np.float64)

    def quality(self, score: float) -> int | None:
        """Return the quality of a score: a whole number from 0 to 100; None where there is no curve, or for NaN."""
        rate = self.match_rates(score)
        return None if rate is None or math.isnan(rate) else round(100 * float(rate))

    def threshold(self, name: str) -> Threshold:
        """Return an operating point.

        Raises:
            InputError: The calibration lacks it; the message says why.
        """
        found = next((item for item in self.thresholds if item.name == name), None)
        if found is None:
            known = ", ".join(item.name for item in self.thresholds) or "none"
            why = "".join(f"; {text}" for text in self.undecided)
            raise InputError(
                f"the calibration of {self.model} has no point {shortened(repr(name))}, it has: {known}{why}; give "
                "a score as threshold, or calibrate on more pictures (fiqa calibrate)"
            )
        return found

    def check_model(self, name: str, sha256: str) -> None:
        """Refuse a calibration that was made with another model.

        Args:
            name: Of the model that is used.
            sha256: Of its file.

        Raises:
            InputError: The names differ, or the files do.
        """
        if self.model != name or (self.model_sha256 and self.model_sha256 != sha256):
            mine = f"{self.model} ({self.model_sha256[:12] or 'no SHA-256'})"
            raise InputError(
                f"the calibration is of {mine}, and the model is {name} ({sha256[:12]}); scores of two models "
                "cannot be compared: run fiqa calibrate with this model"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are known as plain values, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None, ())}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """Make a calibration from plain values, such as those of `to_dict`.

        Raises:
            InputError: A field is unknown, missing or wrong.
        """
        return _part(cls, "calibration", values)

    def write(self, path: Path) -> None:
        """Write the file, JSON."""
        write_json(path, {"fiqa_calibration": VERSION, **self.to_dict()})


def read_calibration(path: Path) -> Calibration:
    """Read the file of a calibration.

    Raises:
        InputError: It cannot be read, is no calibration, is of another version, or does not say which model file it is
            for.
    """
    again = "give the file that fiqa calibrate wrote"
    text = read_file(path, InputError, again, MOST_BYTES)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); {again}") from error
    if not isinstance(values, dict) or "fiqa_calibration" not in values:
        raise InputError(f"{path} is no calibration of fiqa; {again}")
    version = values.pop("fiqa_calibration")
    if type(version) is not int or version != VERSION:  # `True == 1`
        raise InputError(
            f"{path} is a calibration of version {shortened(repr(version))}, wanted {VERSION}; run fiqa calibrate again"
        )
    try:
        found = Calibration.from_dict(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not found.model_sha256:
        raise InputError(
            f"{path} has no model_sha256, so it could be of any model of the name "
            f"{found.model}; run fiqa calibrate again"
        )
    return found


def _part(kind: Any, name: str, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    known = [item.name for item in fields(kind)]
    _check(isinstance(value, Mapping), name, value, f"a table of {', '.join(known)}")
    unknown = [key for key in value if key not in known]
    _check(not unknown, f"{name}'s fields", unknown[:1], f"some of: {', '.join(known)}")
    try:
        return kind(**value)
    except TypeError as error:  # a field is missing
        raise InputError(f"a {name} lacks a field ({error}); run fiqa calibrate again") from error


def _list(name: str, value: Any) -> list[Any]:
    _check(isinstance(value, (list, tuple)), name, value, "a list")
    return list(value)


def _is_number(value: object) -> bool:
    return is_finite(value) and not isinstance(value, bool)


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1  # type: ignore[operator]


def _check(right: bool, name: str, value: object, wanted: str) -> None:
    if not right:
        raise InputError(
            f"{name} of a calibration is {shortened(repr(value))}, wanted {wanted}; run fiqa calibrate again"
        )

"""From scores and embeddings to a calibration, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from sdk.decision.calibrate import Measured, Targets, calibrate, calibrate_discard, check_people, check_shares
from sdk.decision.fitting import calibration_error
from sdk.errors import InputError

pytest.importorskip("scipy", reason="needs the extra calibrate")

MODEL, JUDGE = ("nano", "ab" * 32), ("judge", "cd" * 32)


def people(count: int = 120, each: int = 6, seed: int = 0) -> Measured:
    """Faces whose embeddings are the person's, with the more noise the lower their score is."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((count, 64))
    scores = rng.beta(3, 1.5, count * each)
    noise = rng.standard_normal((count * each, 64)) * (0.2 + 1.6 * (1 - scores[:, None]))
    names = np.repeat([f"person {index}" for index in range(count)], each)
    return Measured(scores, names.tolist(), (np.repeat(centres, each, axis=0) + noise).astype(np.float32))


def test_a_calibration_holds_for_other_people() -> None:
    fitted = calibrate(MODEL, JUDGE, people(), Targets(1e-3, (0.02, 0.1)))
    found = fitted.calibration
    assert (found.model, found.judge, found.people) == ("nano", "judge", 120)
    assert (found.images, found.comparisons) == (720, 1800)
    assert 0 < found.errors < 900
    others = calibrate(MODEL, JUDGE, people(seed=1), Targets()).outcomes
    assert others is not None
    rates = found.match_rates(others.score)
    assert rates is not None
    assert calibration_error(rates, others) < 0.05
    strict, lenient = (found.threshold(name) for name in ("enrol", "identify"))
    assert lenient.score < strict.score
    accepted = others.score >= strict.score
    assert 1 - others.matched[accepted].mean() < 0.03 < 1 - others.matched.mean()


def test_a_share_of_faces_needs_no_people() -> None:
    found = calibrate_discard(MODEL, people().scores, [0.05, 0.2]).calibration
    assert found.judge == ""
    assert found.quality(0.5) is None
    assert found.threshold("enrol").target == 0.2  # the strict point turns away more
    assert found.threshold("identify").target == 0.05


def zero_row(found: Measured) -> np.ndarray:
    assert found.embeddings is not None
    return np.where(np.arange(len(found.scores))[:, None] == 7, 0, found.embeddings)


def test_too_few_failures_give_no_curve() -> None:
    sure = people()
    assert sure.embeddings is not None
    fitted = calibrate(MODEL, JUDGE, replace(sure, embeddings=np.repeat(sure.embeddings[::6], 6, axis=0)), Targets())
    found = fitted.calibration
    assert (found.errors, found.scores, found.rates, found.quality(0.5)) == (0, (), (), None)
    assert found.undecided == (
        "quality: a curve cannot be told: 0 of 1800 comparisons fail, wanted 10 or more; add worse pictures of these "
        "people",
    )
    assert [point.name for point in found.thresholds] == ["enrol", "identify"]


@pytest.mark.parametrize("fmr", [0.001, 0.01, 0.06, 0.1, 0.2])
def test_a_judge_that_recognises_nobody_is_refused(fmr: float) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        vectors = rng.standard_normal((360, 32)).astype(np.float32)
        with pytest.raises(InputError, match="it recognises nobody"):
            calibrate(MODEL, JUDGE, replace(people(60), embeddings=vectors), Targets(fmr))


@pytest.mark.parametrize("fmr", [0.001, 0.1, 0.2])
def test_a_judge_that_fails_half_of_the_time_is_taken(fmr: float) -> None:
    # Every second person's pictures have one vector, and those of the others have nothing in common.
    found = people(60)
    vectors = np.random.default_rng(0).standard_normal((60, 6, 64)).astype(np.float32)
    vectors[::2] = vectors[::2, :1]
    errors = calibrate(
        MODEL, JUDGE, replace(found, embeddings=vectors.reshape(360, 64)), Targets(fmr)
    ).calibration.errors
    assert 0.3 < errors / 900 <= 0.5


GOOD = people(20)


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (people(9), "9 of 9 people have several pictures, wanted 10"),
        (people(12, 2), "non-mated comparisons cannot fix an FMR of 0.001, wanted 10000"),
        (replace(GOOD, scores=np.ones(120)), "all 120 scores are 1"),
        (replace(GOOD, scores=np.r_[np.nan, GOOD.scores[1:]]), "1 scores are no numbers, first of face 0"),
        (replace(GOOD, scores=np.zeros(0), people=[], embeddings=np.zeros((0, 4), np.float32)), "there is no face"),
        (replace(GOOD, embeddings=None), "120 scores, 0 embeddings, 120 names"),
        (replace(GOOD, people=[]), "120 scores, 120 embeddings, 0 names"),
        (
            replace(people(60), embeddings=np.random.default_rng(0).standard_normal((360, 64)).astype(np.float32)),
            "it recognises nobody",
        ),
        (
            replace(GOOD, embeddings=np.full((120, 4), np.nan, np.float32)),
            "120 embeddings are all zero or no numbers, first row 0",
        ),
        (replace(GOOD, embeddings=zero_row(GOOD)), "1 embeddings are all zero or no numbers, first row 7"),
        (replace(GOOD, embeddings=np.zeros((120, 0), np.float32)), "120 embeddings are all zero or no numbers"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(measured: Measured, words: str) -> None:
    with pytest.raises(InputError, match=words):
        calibrate(MODEL, JUDGE, measured, Targets())


def test_people_that_suffice_are_counted() -> None:
    people = [*(["a", "b"] * 3), *(f"person {index // 2}" for index in range(20))]
    assert check_people(people, 0.1) == 12
    others = 26 * 25 // 2 - 2 * 3 - 10
    assert check_people(people, 10 / others) == 12
    with pytest.raises(InputError, match=rf"{others} non-mated comparisons cannot fix an FMR of 0\.032, wanted 312"):
        check_people(people, 0.032)


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ([0.04], r"100 faces cannot tell the worst 4\.0% of them, wanted 250"), ([1.5], "a target is 1.5"),
        ([0.2, 0.2], "wanted one or two different ones"),
    ],
)  # fmt: skip
def test_shares_that_mean_nothing_are_refused(shares: list[float], words: str) -> None:
    check_shares(100, [0.1])
    with pytest.raises(InputError, match=words):
        check_shares(100, shares)


@pytest.mark.parametrize("change", [{"fmr": 0.0}, {"fmr": 1.0}, {"fnmr": ()}, {"fnmr": (0.1, 0.1)}, {"fnmr": (2.0,)}])
def test_targets_that_mean_nothing_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="wanted"):
        Targets(**change)  # type: ignore[arg-type]

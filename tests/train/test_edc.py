"""Error-versus-discard curves: examples computed by hand, ties, thresholds and the bootstrap."""

import numpy as np
import pytest

from sdk.errors import InputError
from train.data.manifest import make_manifest
from train.evaluation.comparisons import mated_comparisons, non_mated_comparisons
from train.evaluation.edc import bootstrap_pauc, edc, pair_quality, threshold_at_fmr
from train.evaluation.protocol import EvaluationSettings, evaluate_set, set_rows

# Ten comparisons by quality: the 1st, 3rd and 7th fail. Errors left / comparisons left after 0, 1, ... 9 discards:
QUALITY = np.arange(10) / 10
ERRORS = np.array([1, 0, 1, 0, 0, 0, 1, 0, 0, 0], bool)
FNMR = [3 / 10, 2 / 9, 2 / 8, 1 / 7, 1 / 6, 1 / 5, 1 / 4, 0, 0, 0]


def test_by_hand() -> None:
    curve = edc(QUALITY, ERRORS)
    np.testing.assert_allclose(curve.fnmr, FNMR)
    np.testing.assert_allclose(curve.discard, np.arange(10) / 10)
    assert curve.auc(0.2) == pytest.approx((3 / 10 + 2 / 9) / 10)
    assert curve.pauc(0.2) == pytest.approx((3 / 10 + 2 / 9) / 10 / (0.3 * 0.2))
    assert curve.auc(0.25) == pytest.approx((3 / 10 + 2 / 9 + 0.5 * 2 / 8) / 10)  # half of a step
    assert curve.auc(1.0) == pytest.approx(sum(FNMR) / 10)


def test_order_does_not_matter_and_ties_are_averaged() -> None:
    # Four comparisons tie at the bottom and two of them fail: each discard takes half an error away on average.
    quality = np.array([0.1, 0.1, 0.1, 0.1, 0.5, 0.9])
    errors = np.array([1, 0, 1, 0, 0, 0], bool)
    wanted = [2 / 6, 1.5 / 5, 1 / 4, 0.5 / 3, 0, 0]
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(6)
        np.testing.assert_allclose(edc(quality[order], errors[order]).fnmr, wanted, atol=1e-12)


def test_a_constant_quality_is_a_random_discard() -> None:
    curve = edc(np.zeros(1000), np.arange(1000) % 7 == 0)
    assert curve.pauc(0.2) == pytest.approx(1.0)


def test_perfect_and_worst() -> None:
    errors = np.arange(100) < 10
    assert edc(np.arange(100.0), errors).fnmr[10] == 0
    assert edc(-np.arange(100.0), errors).pauc(0.3) > 1.1
    assert np.isnan(edc(QUALITY, np.zeros(10, bool)).pauc(0.2))


@pytest.mark.parametrize(("fmr", "threshold"), [(0.1, 0.89), (0.2, 0.79), (0.01, 0.98)])
def test_threshold(fmr: float, threshold: float) -> None:
    similarities = np.random.default_rng(0).permutation(100) / 100
    found = threshold_at_fmr(similarities, fmr)
    assert found == pytest.approx(threshold)
    assert (similarities > found).mean() == pytest.approx(fmr)


def test_threshold_never_exceeds_the_rate_on_ties() -> None:
    similarities = np.r_[np.zeros(90), np.full(10, 0.5)]
    assert (similarities > threshold_at_fmr(similarities, 0.05)).mean() <= 0.05


def test_a_dozen_comparisons_by_hand() -> None:
    """Three people with two images, five mated pairs' worth of unit vectors in the plane."""
    angles = np.radians([0, 10, 90, 150, 180, 185])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    people = ["a", "a", "b", "b", "c", "c"]
    mated = mated_comparisons(people, embeddings)
    assert list(zip(mated.a.tolist(), mated.b.tolist(), strict=True)) == [(0, 1), (2, 3), (4, 5)]
    np.testing.assert_allclose(mated.similarity, np.cos(np.radians([10, 60, 5])), rtol=1e-6)
    non_mated = non_mated_comparisons(people, embeddings, count=4000)
    pairs = {tuple(sorted(pair)) for pair in zip(non_mated.a.tolist(), non_mated.b.tolist(), strict=True)}
    assert len(pairs) == 12  # every pair of different people
    closest = np.cos(np.radians(30))  # the second image of b against the first of c
    assert non_mated.similarity.max() == pytest.approx(closest)
    quality = np.array([0.9, 0.8, 0.7, 0.1, 0.6, 0.5])
    curve = edc(pair_quality(quality, mated.a, mated.b), mated.similarity <= closest - 1e-6)
    np.testing.assert_allclose(curve.fnmr, [1 / 3, 0, 0])  # b's pair fails and has the lowest quality


def test_people_are_limited() -> None:
    embeddings = np.random.default_rng(0).normal(size=(30, 4))
    mated = mated_comparisons(["a"] * 20 + ["b"] * 10, embeddings, limit=30)
    assert np.bincount(mated.identity).tolist() == [30, 30]


def test_bootstrap_is_over_people_and_paired() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    errors = rng.random(300) < 0.2
    good, poor = errors * -1.0 + 0.3 * rng.normal(size=300), rng.normal(size=300)
    first = bootstrap_pauc(good, errors, groups, (0.2,), 200)
    second = bootstrap_pauc(poor, errors, groups, (0.2,), 200)
    assert np.array_equal(first, bootstrap_pauc(good, errors, groups, (0.2,), 200))
    assert (first < second).mean() > 0.99
    assert np.quantile(first, 0.025) < edc(good, errors).pauc(0.2) < np.quantile(first, 0.975)
    # One person holding every error: resampling people must often lose them all.
    alone = bootstrap_pauc(np.arange(300.0), groups == 0, groups, (0.2,), 200)
    assert 0.2 < np.isnan(alone).mean() < 0.55


def test_evaluate_set_ranks_a_good_method_first() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(80), 4)
    noise = rng.uniform(0.05, 1.2, 320)
    embeddings = rng.normal(size=(80, 16))[people] + noise[:, None] * rng.normal(size=(320, 16))
    scores = {"good": -noise, "random": rng.random(320)}
    result = evaluate_set("clean", [str(p) for p in people], embeddings, scores, EvaluationSettings(repetitions=100))
    good, random = result.methods
    assert good.pauc[0.2][0] < 0.92 < 0.97 < random.pauc[0.2][0]
    assert random.worse_than_first[0.2] == 1.0
    assert good.pauc[0.2][1] < good.pauc[0.2][0] < good.pauc[0.2][2]
    assert result.mated == 80 * 6
    assert abs(result.spearman[0, 1]) < 0.2


def test_sets_and_splits(tmp_path: object) -> None:
    rows = []
    for index in range(200):
        split = "test" if index % 2 else "train"
        for copy, damage in (("", ""), ("-1", "blur=0.4" if index < 100 else "blur=0.3+noise=0.9")):
            rows.append(
                {"path": f"{index}{copy}.png", "identity": "a", "split": split, "original": f"{index}.png",
                 "degradation": damage}
            )  # fmt: skip
    manifest = make_manifest(rows, None)  # type: ignore[arg-type]
    clean, mixed = set_rows(manifest, "clean", "test"), set_rows(manifest, "mixed", "test")
    assert len(clean) == len(mixed) == 100
    assert all(rows[row]["split"] == "test" for row in [*clean, *mixed])
    assert not any(rows[row]["degradation"] for row in clean)
    damaged = [rows[row]["degradation"] for row in mixed]
    assert 15 < damaged.count("blur=0.4") < 35
    assert damaged.count("") == 100 - damaged.count("blur=0.4")  # harsher copies give way to their originals
    harsh = [rows[row]["degradation"] for row in set_rows(manifest, "harsh", "test")]
    assert harsh.count("blur=0.4") == damaged.count("blur=0.4")
    assert 15 < harsh.count("blur=0.3+noise=0.9") < 35
    assert np.array_equal(mixed, set_rows(manifest, "mixed", "test"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edc(np.zeros(0), np.zeros(0, bool)), "at least one"),
        (lambda: edc(np.zeros(3), np.zeros(2, bool)), "equally many"),
        (lambda: edc(QUALITY, ERRORS).auc(0), "discard rate is 0"),
        (lambda: threshold_at_fmr(np.zeros(50), 1e-3), "50 non-mated comparisons cannot show"),
        (lambda: pair_quality(np.array([np.nan, 1]), np.array([0]), np.array([1])), "without a quality"),
        (lambda: mated_comparisons(["a", "b"], np.ones((2, 2))), "nobody has two images"),
        (lambda: non_mated_comparisons(["a", "a"], np.ones((2, 2)), 10), "of one person"),
    ],
)
def test_bad_input(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]

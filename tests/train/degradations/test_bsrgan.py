"""Degradations, each against its definition."""

from collections import Counter
from functools import partial

import cv2
import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

from train.degradations import bsrgan
from train.degradations.bsrgan import (
    degrade,
    degrade_face,
    draw_blur_kernel,
    draw_correlation,
    draw_jpeg_quality,
    draw_order,
    gaussian_kernel,
    jpeg,
    noise,
    smaller,
    take_every,
)


def moments(kernel: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre (x, y) from the middle, and covariance."""
    steps = np.arange(len(kernel)) - len(kernel) // 2
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    weights = kernel.reshape(-1)
    centre = weights @ grid
    return centre, (weights[:, None] * (grid - centre)).T @ (grid - centre)


def test_gaussian_has_its_covariance_and_centre() -> None:
    covariance = np.array([[4.0, 1.5], [1.5, 2.0]])
    kernel = gaussian_kernel(25, covariance, shift=1.5)
    centre, found = moments(kernel)
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(centre, 1.5, atol=1e-3)
    np.testing.assert_allclose(found, covariance, atol=0.02)


def test_a_gaussian_of_no_width_is_a_point() -> None:
    kernel = gaussian_kernel(7, np.zeros((2, 2)))
    assert kernel[3, 3] == pytest.approx(1)


@pytest.mark.parametrize("factor", [2, 4])
def test_blur_kernels(factor: int) -> None:
    rng = default_rng(0)
    kernels = [draw_blur_kernel(factor, rng) for _ in range(600)]
    assert {len(kernel) for kernel in kernels} == set(range(7, 26, 2))
    assert all(kernel.sum() == pytest.approx(1) for kernel in kernels)
    variances = np.array([np.linalg.eigvalsh(moments(kernel)[1]) for kernel in kernels if len(kernel) == 25])
    isotropic = np.isclose(variances[:, 0], variances[:, 1], rtol=1e-6)
    assert 0.25 < isotropic.mean() < 0.75
    for chosen, largest in ((isotropic, (2 + 0.2 * factor) ** 2), (~isotropic, 4 + factor)):
        assert 0.7 * largest < variances[chosen].max() < largest + 0.02
    turned = [moments(kernel)[1][0, 1] for kernel in kernels]
    assert min(turned) < -0.5
    assert max(turned) > 0.5


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_every_nth_pixel_stands_for_the_middle_of_its_block(factor: int, sigma: float) -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 96, dtype=np.float32)[None, :, None], (96, 96, 3)).copy()
    taken = take_every(ramp, factor, sigma)
    assert taken.shape == (96 // factor, 96 // factor, 3)
    blocks = ramp.reshape(96, -1, factor, 3).mean(2)[::factor]
    inner = slice(8 // factor + 4, -(8 // factor + 4))
    np.testing.assert_allclose(taken[:, inner], blocks[:, inner], atol=0.0015)
    np.testing.assert_allclose(take_every(ramp.swapaxes(0, 1), factor, sigma), taken.swapaxes(0, 1), atol=1e-6)


def test_sizes_of_the_random_reduction() -> None:
    image = np.zeros((64, 64, 3), np.float32)
    sizes = [smaller(image, 4, default_rng(seed)).shape[0] for seed in range(400)]
    assert min(sizes) in (8, 9)
    assert max(sizes) > 55
    assert Counter(sizes)[16] / 400 == pytest.approx(0.25 + 0.05, abs=0.08)  # the shifted kernel, and factors about 4


def test_noise() -> None:
    image = np.full((64, 64, 3), 0.5, np.float32)
    kinds: Counter[str] = Counter()
    levels = []
    for seed in range(300):
        grain = (noise(image, 4, default_rng(seed)) - image).reshape(-1, 3)
        assert abs(grain.mean()) < 0.01
        correlation = np.corrcoef(grain.T)[np.triu_indices(3, 1)]
        if np.ptp(grain, axis=1).max() == 0:
            kinds["grey"] += 1
            levels.append(grain.std() * 255)
        elif np.abs(correlation).max() < 0.08:
            kinds["colour"] += 1
            levels.append(grain.std() * 255)
        else:
            kinds["correlated"] += 1
            assert (correlation > -0.08).all()
            assert grain.std(0).max() * 255 < 25.5
    assert kinds["grey"] / 300 == pytest.approx(0.4, abs=0.08)
    assert kinds["correlated"] / 300 == pytest.approx(0.2, abs=0.08)
    assert min(levels) == pytest.approx(2, abs=0.3)
    assert max(levels) == pytest.approx(25, abs=0.7)


def test_correlation_is_a_root() -> None:
    for seed in range(20):
        root = draw_correlation(default_rng(seed))
        covariance = root @ root
        rng = default_rng(seed)
        rotation = np.linalg.qr(rng.random((3, 3)))[0]
        np.testing.assert_allclose(covariance, np.abs(rotation.T @ np.diag(rng.random(3)) @ rotation), atol=1e-12)
        assert np.linalg.eigvalsh(covariance).max() <= 2


def test_jpeg() -> None:
    image = default_rng(0).random((32, 32, 3), dtype=np.float32)
    _, data = cv2.imencode(".jpg", np.rint(image * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 30])
    np.testing.assert_array_equal(np.rint(jpeg(image, 30) * 255), cv2.imdecode(data, cv2.IMREAD_COLOR))
    rng = default_rng(0)
    qualities = [draw_jpeg_quality(rng) for _ in range(1000)]
    assert (min(qualities), max(qualities)) == (30, 95)
    kept = sum(bsrgan.compression(image, 4, default_rng(seed)) is image for seed in range(300))
    assert kept / 300 == pytest.approx(0.1, abs=0.05)


def test_the_order_is_random_but_the_final_size_comes_late() -> None:
    orders = [draw_order(default_rng(seed)) for seed in range(300)]
    for order in orders:
        assert sorted(order) == ["blur", "blur", "compression", "final_size", "noise", "smaller"]
        assert order.index("smaller") < order.index("final_size")
    assert {order[0] for order in orders} == {"blur", "compression", "noise", "smaller"}
    assert len({tuple(order) for order in orders}) > 100


def test_steps_of_one_degradation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation is done with the factor that is left, JPEG comes last, and the size is a quarter."""
    image = default_rng(0).random((64, 96, 3), dtype=np.float32)
    done: list[tuple[str, int]] = []

    def note(name: str, image: bsrgan.Image, number: int, *_: object) -> bsrgan.Image:
        done.append((name, number))
        return image

    monkeypatch.setattr(bsrgan, "OPERATIONS", {name: partial(note, name) for name in bsrgan.OPERATIONS})
    monkeypatch.setattr(bsrgan, "jpeg", partial(note, "jpeg"))
    halved = 0
    for seed in range(120):
        done.clear()
        assert degrade(image, default_rng(seed)).shape == (16, 24, 3)
        *others, (last, _) = done
        assert last == "jpeg"
        assert sorted(name for name, _ in others) == ["blur", "blur", "compression", "noise", "smaller"]
        (factor,) = {number for _, number in others}
        assert factor in (2, 4)
        halved += factor == 2
    assert halved / 120 == pytest.approx(0.25, abs=0.1)


def test_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    face = default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    calls = []

    def count(image: bsrgan.Image, rng: np.random.Generator) -> bsrgan.Image:
        assert image.shape == (512, 512, 3)
        calls[-1] += 1
        return image[::4, ::4]

    monkeypatch.setattr(bsrgan, "degrade", count)
    for seed in range(1000):
        calls.append(0)
        assert degrade_face(face, default_rng(seed)).shape == (112, 112, 3)
    shares = Counter(calls)
    assert set(shares) == {1, 2, 3}
    assert (shares[2] + shares[3]) / 1000 == pytest.approx(0.2, abs=0.04)
    assert shares[3] / 1000 == pytest.approx(0.01, abs=0.01)


def test_faces_are_damaged_repeatably_and_not_in_place() -> None:
    rough = default_rng(0).integers(0, 256, (14, 14, 3), dtype=np.uint8)
    face = cv2.resize(rough, (112, 112), interpolation=cv2.INTER_CUBIC)
    before = face.copy()
    copies = [degrade_face(face, default_rng(seed)) for seed in range(4)]
    np.testing.assert_array_equal(face, before)
    np.testing.assert_array_equal(copies[0], degrade_face(face, default_rng(0)))
    errors = [np.abs(copy.astype(float) - face).mean() for copy in copies]
    assert all(1 < error < 60 for error in errors)
    assert len({copy.tobytes() for copy in copies}) == 4

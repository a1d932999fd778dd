"""Measures on pictures made by hand, and what follows from them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sdk import Face, FaceDetector, ImageError, InputError, QualityScorer, align, find_reasons, measure
from sdk.alignment import TEMPLATE
from sdk.decision.measures import SCALES, make_measure
from sdk.measuring.damage import values_of
from sdk.measuring.geometry import geometry
from sdk.measuring.light import light

PHOTO = Path(__file__).parents[3] / "examples/media/astronaut.jpg"


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(PHOTO)), np.uint8)


@pytest.fixture(scope="module")
def face(photo: NDArray[np.uint8]) -> Face:
    return FaceDetector().detect(photo)[0]


def first(crop: NDArray[np.uint8]) -> str:
    reasons = find_reasons(measure(crop))
    return reasons[0].code if reasons else ""


def test_eye_distance_is_of_the_photo() -> None:
    """Not of the crop, where it is always 35 pixels."""
    for scale in (0.5, 1.0, 4.0):
        assert geometry(scale * TEMPLATE, 500, 500)["eye_distance"] == pytest.approx(35.24 * scale, abs=0.01 * scale)


def test_roll_and_pitch() -> None:
    assert geometry(TEMPLATE, 112, 112)["roll"] == pytest.approx(0, abs=1)
    turn = cv2.getRotationMatrix2D((56.0, 56.0), -30, 1.0)
    turned = TEMPLATE @ turn[:, :2].T + turn[:, 2]
    assert geometry(turned, 112, 112)["roll"] == pytest.approx(30, abs=1)
    up, down = TEMPLATE.copy(), TEMPLATE.copy()
    up[2, 1] -= 10
    down[2, 1] += 10
    pitch = [geometry(points, 112, 112)["pitch"] for points in (down, TEMPLATE, up)]
    assert pitch[0] < -15 < -10 < pitch[1] < 10 < 15 < pitch[2]


@pytest.mark.parametrize(("width", "outside"), [(112, 0), (56, 50), (84, 25)])
def test_what_is_cut_by_the_frame(width: int, outside: float) -> None:
    assert geometry(TEMPLATE, 112, width)["outside"] == pytest.approx(outside, abs=1.8)


def test_dark_skin_is_no_low_contrast(photo: NDArray[np.uint8], face: Face) -> None:
    """Half of all levels, as of darker skin: the same contrast, and the same evenness."""
    crop = align(photo, face.landmarks)
    for name, value in light(crop).items():
        assert light(crop // 2)[name] == pytest.approx(value, abs=2.5)


def test_uneven_light() -> None:
    crop = np.full((112, 112, 3), 200, np.uint8)
    assert light(crop) == pytest.approx({"contrast": 0, "uneven_light": 0})
    crop[:, :56] = 50
    assert light(crop)["uneven_light"] == pytest.approx(75)
    assert light(crop)["contrast"] == pytest.approx(60)


def test_black_outside_of_the_photo_is_no_light() -> None:
    crop = np.full((112, 112, 3), 200, np.uint8)
    crop[:, 70:] = 0
    assert light(crop) == pytest.approx({"contrast": 0, "uneven_light": 0})


def test_a_good_photo_has_no_reasons(photo: NDArray[np.uint8], face: Face) -> None:
    measures = measure(photo, face)
    assert find_reasons(measures) == ()
    assert set(measures) == set(SCALES) - {"faces"}
    assert measures["eye_distance"].value == pytest.approx(np.hypot(*(face.landmarks[1] - face.landmarks[0])), abs=1e-3)


def test_kinds_of_damage(photo: NDArray[np.uint8], face: Face) -> None:
    crop, rng = align(photo, face.landmarks), np.random.default_rng(0)
    grain = 40 * rng.standard_normal(crop.shape)
    small = cv2.resize(crop, (16, 16), interpolation=cv2.INTER_AREA)
    covered = crop.copy()
    covered[30:85, 30:85] = (30, 120, 200)
    wanted = {
        "blurred": cv2.GaussianBlur(crop, (0, 0), 4),
        "noisy": np.clip(crop + grain, 0, 255),  # which a Laplacian takes for sharpness
        "low_resolution": cv2.resize(small, (112, 112), interpolation=cv2.INTER_CUBIC),
        "compressed": cv2.imdecode(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 8])[1], cv2.IMREAD_COLOR),
        "too_dark": crop // 10,
        "too_bright": np.clip(crop.astype(int) * 5, 0, 255),
        "covered": covered,
    }
    assert {code: first(np.asarray(damaged).astype(np.uint8)) for code, damaged in wanted.items()} == {
        code: code for code in wanted
    }


def test_a_black_border_is_no_sharpness(photo: NDArray[np.uint8], face: Face) -> None:
    """A blurred face that the frame cuts stays blurred: the edge of the black part is no detail."""
    soft = np.asarray(cv2.GaussianBlur(align(photo, face.landmarks), (0, 0), 4), np.uint8)
    whole = measure(soft)["blur"].value
    soft[:, 92:] = 0
    assert measure(soft)["blur"].value == pytest.approx(whole, rel=0.4)
    assert "blurred" in [reason.code for reason in find_reasons(measure(soft))]


def test_values_at_the_grades() -> None:
    names = (
        "misalignment",
        "over_exposure",
        "darkness",
        "occlusion",
        "blur",
        "resolution",
        "noise",
        "compression",
        "yaw",
    )
    assert values_of(dict.fromkeys(names, 1.0))["noise"] == 70
    assert values_of(dict.fromkeys(names, 0.0))["resolution"] == pytest.approx(35.2)
    assert values_of(dict.fromkeys(names, 0.1))["resolution"] == pytest.approx(16.1)


def test_qualities_and_order() -> None:
    assert [make_measure("yaw", value).quality for value in (0, 17.5, 35, 62.5, 90, -35)] == [100, 75, 50, 25, 0, 50]
    assert [make_measure("eye_distance", value).quality for value in (100, 24, 12, 6, 1)] == [100, 50, 25, 0, 0]
    values = {"darkness": 5.0, "yaw": 40.0, "contrast": 1.0, "blur": 1.0}
    reasons = find_reasons({name: make_measure(name, value) for name, value in values.items()})
    assert [(reason.code, reason.measure, reason.value, reason.limit) for reason in reasons] == [
        ("too_dark", "darkness", 5.0, 1.2),
        ("turned", "yaw", 40.0, 35.0),
    ]  # low contrast follows from darkness


def test_assess_measures_on_request(photo: NDArray[np.uint8]) -> None:
    two = np.hstack([photo, photo // 12])
    with QualityScorer(device="cpu", threads=1) as plain, QualityScorer(device="cpu", threads=1, reasons=True) as asked:
        assert plain.measurer is None
        assert [(face.measures, face.reasons) for face in plain.assess(photo)] == [(None, None)]
        (found,) = asked.assess(photo)
        assert found.reasons == ()
        assert found.measures is not None
        assert found.measures["faces"].value == 1
        assert {face.reasons[0].code if face.reasons else "" for face in asked.assess(two)} <= {"", "too_dark"}


def test_wrong_input(photo: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="an image without a face is uint8"):
        measure(photo)
    with pytest.raises(InputError, match="wanted a Face"):
        measure(photo, (1, 2, 3, 4))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="reasons is 3, wanted True or False"):
        QualityScorer(device="cpu", reasons=3)  # type: ignore[arg-type]

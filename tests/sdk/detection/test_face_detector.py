"""FaceDetector: choosing and merging passes, and the faces that the package's model and YuNet find."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdk import Face, FaceDetector, InputError, ModelError, QualityScorer
from sdk.detection.face_detector import _detect, _merge, _needs_another_pass
from sdk.onnx_bytes.onnx_file import check_onnx
from tests.support.tiny_models import tiny_card, tiny_model

MEDIA = Path(__file__).parents[3] / "examples" / "media"
LANDMARKS = np.zeros((5, 2), np.float32)
ASTRONAUT_BOX = (179, 64, 90, 110)


def face(x: float, y: float, width: float, confidence: float = 0.9) -> Face:
    """Return a square face."""
    return Face((x, y, width, width), LANDMARKS, confidence)


@pytest.mark.parametrize(
    ("name", "width", "scale", "longest", "expected"),
    [
        ("large face in a small image", 100, 640 / 250, 250, False),
        ("small face in a small image", 20, 640 / 250, 250, True),
        ("nothing found", None, 640 / 250, 250, True),
        ("the first pass reduced the image", 500, 640 / 1000, 1000, True),
        ("large face at 1280", 50, 1280 / 1000, 1000, False),
        ("small face at 1280", 40, 1280 / 1000, 1000, True),
        ("enlarged as far as it goes", 12, 4, 112, False),
    ],
)
def test_passes(name: str, width: float | None, scale: float, longest: int, expected: bool) -> None:
    faces = [] if width is None else [face(0, 0, 200), face(0, 0, width)]
    assert _needs_another_pass(faces, scale, longest, 640) is expected


def test_merge() -> None:
    large, small, other = face(0, 0, 200), face(300, 0, 30), face(400, 0, 20)
    again, fragment = face(301, 1, 29), face(80, 80, 50)
    assert _merge([large, small], [again, fragment, other], 60) == [large, again, other]
    assert _merge([], [large], 60) == [large]


def test_merge_at_low_confidence() -> None:
    doubtful, left, right = face(0, 0, 200, 0.4), face(10, 50, 70), face(110, 50, 70)
    assert _merge([doubtful], [left, right], 60) == [left, right]
    small, again, fragment = face(300, 0, 40), face(301, 1, 39), face(310, 10, 20, 0.4)
    assert _merge([small], [again, fragment], 60) == [again]
    assert _merge([], [left, face(20, 60, 30, 0.4)], 60) == [left]


class Network:
    """Finds faces by the width of what it is shown; notes the widths."""

    passes = (200, 400)

    def __init__(self, found: dict[int, tuple[float, float]]) -> None:
        self.found, self.seen = found, []

    def find(self, image: np.ndarray) -> np.ndarray:
        width = image.shape[1]
        self.seen.append(width)
        rows = np.zeros((int(width in self.found), 15), np.float32)
        rows[:, 2:4], rows[:, 14] = self.found.get(width, 0), 0.9
        return rows


@pytest.mark.parametrize(
    ("name", "found", "given", "seen", "width"),
    [
        ("a face that fills the image", {100: (60, 70)}, None, [200, 100], 120),
        ("a smaller one is none", {100: (50, 55)}, None, [200, 100, 400], None),
        ("nothing to look for again", {200: (80, 90)}, None, [200], 80),
        ("passes of the caller", {100: (60, 70)}, (200,), [200], None),
    ],
)
def test_half_the_size_where_nothing_is_found(
    name: str, found: dict[int, tuple[float, float]], given: tuple[int, ...] | None, seen: list[int], width: int | None
) -> None:
    network = Network(found)
    faces = _detect(network, given, np.zeros((200, 200, 3), np.uint8))
    assert network.seen == seen
    assert [face.box[2] for face in faces] == ([] if width is None else [width])


def test_settings_that_are_refused(tiny_path: Path) -> None:
    with pytest.raises(InputError, match=r"min_confidence is 1\.5"):
        FaceDetector(min_confidence=1.5)
    for passes in ((), (0,)):
        with pytest.raises(InputError, match="passes is"):
            FaceDetector(passes=passes)
    with pytest.raises(ModelError, match="is a model for quality, wanted one for detection"):
        FaceDetector(tiny_path)
    with pytest.raises(ModelError, match="unknown model"):
        FaceDetector("retinaface")
    with pytest.raises(ModelError, match="FIQA_OFFLINE"):
        FaceDetector("yunet")


def test_a_detector_prints_its_settings() -> None:
    assert repr(FaceDetector()) == "FaceDetector(model='fiqa-detector', min_confidence=0.7)"
    shown = "FaceDetector(model='fiqa-detector', min_confidence=0.25, passes=(640, 1280))"
    assert repr(FaceDetector(min_confidence=0.25, passes=[640, 1280])) == shown


@pytest.fixture(params=["fiqa-detector", "yunet"])
def model(request: pytest.FixtureRequest) -> str:
    """The model of the package, and YuNet if its file is on this machine."""
    if request.param == "yunet":
        request.getfixturevalue("yunet")
    return request.param


@pytest.fixture
def astronaut() -> np.ndarray:
    """Return a photo of one face."""
    return cv2.imread(str(MEDIA / "astronaut.jpg"))


def test_one_face(model: str, astronaut: np.ndarray) -> None:
    (found,) = FaceDetector(model).detect(astronaut)
    assert found.confidence > 0.8
    x, y, width, height = found.box
    # The boxes of the package's model are up to a fifth larger.
    np.testing.assert_allclose(found.box, ASTRONAUT_BOX, atol=8 if model == "yunet" else 25)
    assert found.landmarks.dtype == np.float32
    left_eye, right_eye, nose, left_mouth, right_mouth = found.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    assert all(x < px < x + width and y < py < y + height for px, py in found.landmarks)


@pytest.mark.parametrize("scale", [0.25, 0.5, 2, 4])
def test_any_size_gives_the_same_face(model: str, astronaut: np.ndarray, scale: float) -> None:
    detector = FaceDetector(model)
    (reference,) = detector.detect(astronaut)
    (found,) = detector.detect(cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    difference = np.abs(found.landmarks / scale - reference.landmarks).max()
    assert difference < 0.06 * reference.box[2]


def test_a_face_that_fills_the_image(model: str, astronaut: np.ndarray) -> None:
    (reference,) = FaceDetector(model).detect(astronaut)
    # The image shows less than the face: a square of 58 pixels (90 for YuNet) of a box of 90 x 110.
    left, top, side = (179, 74, 90) if model == "yunet" else (195, 90, 58)
    close = cv2.resize(astronaut[top : top + side, left : left + side], (640, 640), interpolation=cv2.INTER_LINEAR)
    assert FaceDetector(model, passes=(640 if model == "yunet" else 256,)).detect(close) == []
    (found,) = FaceDetector(model).detect(close)
    wanted = (reference.landmarks - (left, top)) * (640 / side)
    assert np.abs(found.landmarks - wanted).max() < 0.1 * 640


def test_many_small_faces_beside_a_large_one(model: str, astronaut: np.ndarray) -> None:
    small = cv2.resize(astronaut, (150, 150), interpolation=cv2.INTER_AREA)
    image = np.full((1024, 1536, 3), 128, np.uint8)
    image[:512, :512] = astronaut
    for row in (560, 740):
        for column in range(0, 1280, 256):
            image[row : row + 150, column : column + 150] = small
    found = FaceDetector(model).detect(image)
    assert len(found) == 11
    areas = [one.box[2] * one.box[3] for one in found]
    assert areas == sorted(areas, reverse=True)
    assert found[0].box[2] > 80 > 40 > found[1].box[2]


@pytest.mark.parametrize("shape", [(16, 16), (64, 2000), (480, 640)])
def test_no_face(model: str, shape: tuple[int, int], tiny_path: Path) -> None:
    blank = np.full((*shape, 3), 90, np.uint8)
    detector = FaceDetector(model)
    assert detector.detect(blank) == []
    assert QualityScorer(tiny_path, detector=detector).assess(blank) == []


def test_one_pass_finds_large_faces_only(yunet: None, astronaut: np.ndarray) -> None:
    canvas = np.full((1000, 1000, 3), 128, np.uint8)
    canvas[:512, :512] = astronaut
    canvas[900:948, 900:948] = cv2.resize(astronaut, (48, 48), interpolation=cv2.INTER_AREA)  # a face of 8 pixels
    assert len(FaceDetector("yunet", passes=(640,)).detect(canvas)) == 1
    assert len(FaceDetector("yunet", passes=(640, 2560)).detect(canvas)) == 2


def test_many_callers(model: str, astronaut: np.ndarray) -> None:
    detector = FaceDetector(model)
    images = [astronaut, astronaut[:, ::-1], astronaut[:300], np.zeros_like(astronaut)] * 3
    expected = [[one.box for one in detector.detect(image)] for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(detector.detect, images))
    assert [[one.box for one in faces] for faces in found] == expected


def test_assess_a_file(tiny_path: Path) -> None:
    (found,) = QualityScorer(tiny_path).assess(MEDIA / "astronaut.jpg")
    assert found.crop.shape == (112, 112, 3)
    assert 0 < found.score < 1


def test_model_that_opencv_cannot_load(tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "detector.onnx"
    path.write_bytes(tiny_model(tiny_card(task="detection", variant="yunet")).SerializeToString())
    check_onnx(path.read_bytes())

    def fail(*_: object) -> None:
        raise cv2.error("no such layer")

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", fail)
    with pytest.raises(ModelError, match=r"cannot load .*detector\.onnx: no such layer"):
        FaceDetector(path)

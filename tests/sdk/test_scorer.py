"""QualityScorer with a small model: scores, inputs, devices, threads, limits."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from sdk import DeviceError, Face, FaceDetector, ImageError, InputError, ModelCard, ModelError, QualityScorer, align
from sdk.images.decoding import MAX_BYTES, MAX_PIXELS
from sdk.models.card import InputSpec
from sdk.runtimes.shared_runtime import prepare
from tests.support.tiny_models import faces, tiny_card, tiny_model

FLOAT_INPUT = {"colour": "RGB", "layout": "NCHW", "dtype": "float32"}


def plain_scores(path: Path, batch: np.ndarray) -> np.ndarray:
    """Return the scores of a plain session of onnxruntime."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["quality"], {"image": batch})[0][:, 0]


def saved(path: Path, *args: Any, **options: Any) -> Path:
    """Write a tiny model; return its path."""
    onnx.save(tiny_model(*args, **options), path)
    return path


@pytest.mark.parametrize("threads", [1, 2, 3, None])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 17])
def test_scores_are_onnxruntimes(tiny_path: Path, count: int, threads: int | None) -> None:
    batch = faces(count)
    with QualityScorer(tiny_path, threads=threads) as scorer:
        result = scorer.score_batch(batch)
        assert result.dtype == np.float32
        assert result.shape == (count,)
        np.testing.assert_allclose(result, plain_scores(tiny_path, batch), rtol=0, atol=1e-5)
        np.testing.assert_allclose([scorer.score(face) for face in batch], result, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(scorer.score_batch(list(batch)), result)


@pytest.mark.parametrize("empty", [[], (), np.empty((0, 112, 112, 3), np.uint8)])
def test_empty_batch(tiny_path: Path, empty: Any) -> None:
    result = QualityScorer(tiny_path).score_batch(empty)
    assert result.shape == (0,)
    assert result.dtype == np.float32


@pytest.mark.parametrize("batch", ["batch", 1])
def test_float_model_through_its_card(tmp_path: Path, batch: int | str) -> None:
    path = saved(tmp_path / "float.onnx", tiny_card(input=FLOAT_INPUT), uint8=False, batch=batch)
    same = saved(tmp_path / "uint8.onnx", tiny_card())
    expected = plain_scores(same, faces(5))
    np.testing.assert_allclose(QualityScorer(path).score_batch(faces(5)), expected, rtol=0, atol=1e-5)


def test_output_by_card(tmp_path: Path) -> None:
    path = saved(tmp_path / "two.onnx", outputs=2)
    scorer = QualityScorer(path, card=tiny_card(output="quality"))
    np.testing.assert_allclose(scorer.score_batch(faces(2)), plain_scores(path, faces(2)), rtol=0, atol=1e-5)
    for output, message in (("", "has the outputs quality, features"), ("score", "its card says 'score'")):
        with pytest.raises(ModelError, match=message):
            QualityScorer(path, card=tiny_card(output=output))
    with pytest.raises(ModelError, match=r"gives features float32 \(N, 8\), wanted .* a number a face"):
        QualityScorer(path, card=tiny_card(output="features"))
    assert QualityScorer(saved(tmp_path / "one.onnx"), card=tiny_card(output="")).score(faces(1)[0]) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": FLOAT_INPUT}, r"takes image uint8 \(N, 112, 112, 3\), its card says one input float32"),
        ({"input": {"layout": "NCHW"}}, "correct the card"),
        ({"input": {"height": 96}}, "takes faces of 112 x 96 pixels, wanted 112 x 112"),
        ({"task": "detection"}, "is a model for detection, wanted one for quality: fiqa-nano"),
    ],
)
def test_card_that_does_not_fit(tiny_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        QualityScorer(tiny_path, card=tiny_card(**change))


@pytest.mark.parametrize("colour", ["BGR", "RGB"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_prepare(colour: Any, layout: Any, dtype: Any) -> None:
    spec = InputSpec(colour=colour, layout=layout, dtype=dtype, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    batch = prepare(faces(2), spec)
    assert batch.flags.c_contiguous
    assert batch.dtype == dtype
    back = batch if layout == "NHWC" else batch.transpose(0, 2, 3, 1)
    rgb = back if colour == "RGB" else back[..., ::-1]
    wanted = faces(2)[..., ::-1]
    if dtype == "float32":
        wanted = (wanted / 255 - np.array(spec.mean)) / np.array(spec.std)
    np.testing.assert_allclose(rgb, wanted, rtol=0, atol=1e-6)


class RaisesInArray:
    """An object that raises when numpy converts it."""

    def __array__(self, *args: Any, **options: Any) -> np.ndarray:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("name", "face"),
    [
        ("size", np.zeros((160, 160, 3), np.uint8)),
        ("float", np.zeros((112, 112, 3), np.float32)),
        ("NaN", np.full((112, 112, 3), np.nan)),
        ("16 bits", np.zeros((112, 112, 3), np.uint16)),
        ("grey", np.zeros((112, 112), np.uint8)),
        ("alpha", np.zeros((112, 112, 4), np.uint8)),
        ("path", "face.jpg"),
        ("masked", np.ma.masked_equal(np.zeros((112, 112, 3), np.uint8), 0)),
        ("signed", np.zeros((112, 112, 3), np.int8)),
        ("no array", RaisesInArray()),
        ("nothing", None),
        ("nested lists", np.zeros((112, 112, 3), np.uint8).tolist()),
    ],
)
def test_faces_that_are_refused(tiny_path: Path, name: str, face: Any) -> None:
    scorer = QualityScorer(tiny_path)
    with pytest.raises(ImageError, match="wanted"):
        scorer.score(face)
    with pytest.raises(ImageError, match="wanted"):
        scorer.score_batch([faces(1)[0], face])
    with pytest.raises(ImageError, match="wanted"):
        scorer.score_batch(np.stack([face, face]) if isinstance(face, np.ndarray) else face)


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_arrays_of_any_layout(tiny_path: Path, device: str) -> None:
    if device == "openvino":
        pytest.importorskip("openvino", reason="needs the extra openvino")
    batch = faces(9)
    expected = plain_scores(tiny_path, batch)
    locked = batch.copy()
    locked.flags.writeable = False
    (spread := np.zeros((18, 112, 224, 3), np.uint8))[::2, :, ::2] = batch
    shapes = {
        "read-only": locked,
        "Fortran": np.asfortranarray(batch),
        "strided": spread[::2, :, ::2],
        "backwards": np.ascontiguousarray(batch[::-1, ::-1])[::-1, ::-1],
        "subclass": batch.view(np.memmap),
    }
    with QualityScorer(tiny_path, device, threads=2) as scorer:
        for name, array in shapes.items():
            for found in (scorer.score_batch(array), scorer.score_batch(list(array)), scorer.score_batch(iter(array))):
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5, err_msg=name)
            np.testing.assert_allclose([scorer.score(face) for face in array], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [None, 5, 1.5, object(), RaisesInArray(), np.ma.zeros((2, 112, 112, 3), np.uint8)])
def test_batches_that_are_refused(tiny_path: Path, batch: Any) -> None:
    with pytest.raises(ImageError, match="wanted an array or a sequence of arrays"):
        QualityScorer(tiny_path).score_batch(batch)


def test_the_face_that_is_refused_is_named(tiny_path: Path) -> None:
    with pytest.raises(ImageError, match=r"face 2 is uint8 \(111, 112, 3\), wanted"):
        QualityScorer(tiny_path).score_batch([*faces(2), faces(1)[0][1:]])


def test_one_face_is_no_batch(tiny_path: Path) -> None:
    with pytest.raises(ImageError, match="wanted uint8"):
        QualityScorer(tiny_path).score_batch(faces(1)[0])


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", r"wanted CUDAExecutionProvider; .*fiqa\[gpu\]"),
        ("cuda:1", "wanted CUDAExecutionProvider"),
        ("gpu", "unknown device 'gpu'"),
        ("cuda:x", "unknown device"),
        ("cpu:0", "unknown device"),
        ("", "unknown device"),
    ],
)
def test_device_that_is_not_there(tiny_path: Path, device: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match=message):
        QualityScorer(tiny_path, device=device)


class FallsBack:
    """Behaves like onnxruntime without CUDA's libraries: opens a session on the CPU."""

    def __new__(cls, *args: Any, providers: list[Any], **options: Any) -> Any:
        return cls.session(*args, providers=["CPUExecutionProvider"], **options)

    session = onnxruntime.InferenceSession


def test_silent_fallback_is_an_error(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", FallsBack)
    monkeypatch.setattr("sdk.runtimes.providers.gpu_architecture", lambda number: "8.6")
    with pytest.raises(DeviceError, match="cuda:0 was asked for, but onnxruntime runs on CPUExecutionProvider"):
        QualityScorer(tiny_path, device="cuda")
    with caplog.at_level(logging.INFO, "sdk"):
        assert QualityScorer(tiny_path).device == "cpu"
    assert [record.levelname for record in caplog.records if "took cpu" in record.message] == ["WARNING"]


def test_auto_says_what_it_took(tiny_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sdk"):
        scorer = QualityScorer(tiny_path)
        scorer.score_batch(faces(9))
    assert scorer.device in ("cpu", "cuda:0")
    assert len([record for record in caplog.records if f"took {scorer.device}" in record.message]) == 1


@pytest.mark.gpu
@pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="onnxruntime has no CUDA provider"
)
def test_cuda(tiny_path: Path) -> None:
    with QualityScorer(tiny_path, device="cuda") as scorer:
        assert scorer.device == "cuda:0"
        np.testing.assert_allclose(scorer.score_batch(faces(99)), plain_scores(tiny_path, faces(99)), atol=1e-3)


def test_rewritten_model_is_cached(tiny_path: Path, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = QualityScorer(tiny_path).score_batch(faces(3))
    (cached,) = (own_store / "rewritten").iterdir()
    monkeypatch.setattr("sdk.onnx_bytes.prelu_cache.replace_prelu", lambda _: pytest.fail("rewritten again"))
    np.testing.assert_array_equal(QualityScorer(tiny_path).score_batch(faces(3)), expected)
    monkeypatch.undo()
    monkeypatch.setenv("FIQA_CACHE", str(own_store))
    cached.write_bytes(cached.read_bytes()[:-9])
    np.testing.assert_array_equal(QualityScorer(tiny_path).score_batch(faces(3)), expected)


def test_read_only_cache_does_not_matter(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.INFO, "sdk"):
        result = QualityScorer(tiny_path).score_batch(faces(3))
    np.testing.assert_allclose(result, plain_scores(tiny_path, faces(3)), rtol=0, atol=1e-5)
    assert caplog.text.count("is not kept") == 1


def test_a_model_without_prelu_is_not_cached(tmp_path: Path, own_store: Path) -> None:
    path = saved(tmp_path / "relu.onnx", tiny_card(), prelu=False)
    np.testing.assert_allclose(QualityScorer(path).score_batch(faces(3)), plain_scores(path, faces(3)), atol=1e-5)
    assert not own_store.exists()


def test_many_callers(tiny_path: Path) -> None:
    expected = plain_scores(tiny_path, faces(40))
    with QualityScorer(tiny_path, threads=2) as scorer, ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda _: scorer.score_batch(faces(40)), range(16)))
        singles = list(pool.map(scorer.score, faces(40)))
    for result in (*batches, singles):
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def test_properties(tiny_path: Path) -> None:
    scorer = QualityScorer(tiny_path, device="cpu", threads=3)
    assert (scorer.card, scorer.device, scorer.threads) == (tiny_card(), "cpu", 3)
    assert repr(scorer) == f"QualityScorer(model='{tiny_path}', device='cpu', precision='fp32', threads=3)"
    assert (scorer.max_pixels, scorer.max_bytes) == (MAX_PIXELS, MAX_BYTES)
    assert QualityScorer(tiny_path).threads >= 1
    limited = QualityScorer(tiny_path, max_pixels=1000, max_bytes=2000)
    assert (limited.max_pixels, limited.max_bytes) == (1000, 2000)


def no_detector() -> None:
    """A function has no `detect`, so it is no detector."""


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "threads",
            [0, -1, True, 1.0, "2", 1025, 10**9, float("nan")],
            "threads is .*, wanted a whole number from 1 to",
        ),
        ("wait_ms", [-1, 101, float("nan"), float("inf"), "5", None, True], "wanted 0 to 100 milliseconds"),
        ("max_pixels", [0, -5, 1e6, "64", False], "max_pixels is .*, wanted a whole number of at least 1"),
        ("max_bytes", [0, -5, 1e6, "64", False], "max_bytes is .*, wanted a whole number of at least 1"),
        ("model", [None, b"tiny.onnx", 7, ["tiny.onnx"]], "model is .*, wanted a name in the catalogue"),
        ("device", [None, 0, b"cpu", ["cpu"]], "device is .*, wanted text such as"),
        ("card", ["tiny", {"name": "tiny"}, 1, ModelCard], "card is .*, wanted ModelCard"),
        ("precision", [32, b"fp32", ["fp32"]], "precision is .*, wanted str"),
        ("detector", ["yunet", no_detector, FaceDetector, 1], "detector is .*, wanted a FaceDetector"),
        ("trust", ["no", 1], "trust is .*, wanted bool"),
    ],
)
def test_arguments_that_are_refused(tiny_path: Path, name: str, values: list[Any], message: str) -> None:
    for value in values:
        with pytest.raises(InputError, match=message):
            QualityScorer(**{"model": tiny_path, name: value})


def test_closed_scorer(tiny_path: Path) -> None:
    with QualityScorer(tiny_path) as scorer:
        pass
    scorer.close()
    for call in (lambda: scorer.score(faces(1)[0]), lambda: scorer.score_batch(faces(20))):
        with pytest.raises(ModelError, match="tiny is closed; make a new QualityScorer"):
            call()


class TwoFaces:
    """A detector that finds two faces in any image."""

    landmarks = np.array([(30, 40), (70, 40), (50, 60), (35, 80), (65, 80)], np.float32)

    def detect(self, image: np.ndarray) -> list[Face]:
        assert image.shape == (200, 300, 3)
        return [
            Face((20, 20, 60, 80), self.landmarks, 0.9),
            Face((120, 20, 50, 70), self.landmarks + np.float32(100), 0.8),
        ]


def test_assess(tiny_path: Path) -> None:
    image = np.random.default_rng(3).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    scorer = QualityScorer(tiny_path, detector=TwoFaces())  # type: ignore[arg-type]
    found = scorer.assess(image)
    assert [(face.box, face.confidence) for face in found] == [((20, 20, 60, 80), 0.9), ((120, 20, 50, 70), 0.8)]
    for face in found:
        np.testing.assert_array_equal(face.crop, align(image, face.landmarks))
        assert face.score == pytest.approx(scorer.score(face.crop), abs=1e-6)
    with pytest.raises(ImageError, match="float64"):
        scorer.assess(image / 255)


def test_limits_of_assess(tiny_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), np.full((100, 90, 3), 127, np.uint8))
    size = path.stat().st_size
    assert QualityScorer(tiny_path, max_pixels=9000, max_bytes=size).assess(path) == []
    with pytest.raises(ImageError, match="90 x 100, wanted at most 8,999 pixels"):
        QualityScorer(tiny_path, max_pixels=8999).assess(path)
    with pytest.raises(ImageError, match=f"{size:,} bytes, wanted at most {size - 1:,}"):
        QualityScorer(tiny_path, max_bytes=size - 1).assess(path)


def test_the_limit_can_be_raised(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.detection.face_detector.MAX_PIXELS", 1000)
    assert QualityScorer(tiny_path, max_pixels=10_000).assess(np.zeros((64, 64, 3), np.uint8)) == []


def test_assess_makes_its_own_detector(tiny_path: Path) -> None:
    scorer = QualityScorer(tiny_path)
    assert scorer.assess(np.zeros((64, 64, 3), np.uint8)) == []
    assert isinstance(scorer._detector, FaceDetector)


@pytest.mark.parametrize("name", ["fiqa-nanoo", "resnet", "ediffiqa"])
def test_unknown_model(name: str) -> None:
    with pytest.raises(ModelError, match=f"unknown model '{name}'"):
        QualityScorer(name)


@pytest.mark.parametrize("batch", [1025, 1 << 40])
def test_a_fixed_batch_that_would_take_all_memory(batch: int, tmp_path: Path) -> None:
    path = saved(tmp_path / "large.onnx", tiny_card(), batch=batch)
    with pytest.raises(ModelError, match=f"takes {batch} faces a call, wanted 1 to 1024"):
        QualityScorer(path)


def test_the_card_of_the_embedded_model_says_what_its_scores_mean() -> None:
    with QualityScorer(accept="identify") as scorer:
        assert scorer.calibration is not None
        assert scorer.calibration is scorer.card.calibration
        assert scorer.threshold == scorer.calibration.threshold("identify").score
        assert scorer.calibration.quality(1.0) == 100
        assert scorer.calibration.quality(0.0) < 20  # type: ignore[operator]


def test_a_point_without_a_calibration_is_refused(tiny_path: Path) -> None:
    with pytest.raises(InputError, match="accept is 'enrol', but there is no calibration: the model's card has none"):
        QualityScorer(tiny_path, accept="enrol")

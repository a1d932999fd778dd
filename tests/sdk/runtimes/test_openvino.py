"""OpenVINO's own runtime: scores, hints, files that do not fit."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from sdk import DeviceError, ModelError, QualityScorer
from sdk.models.loading import load_model, openvino_digest
from sdk.runtimes.registry import open_runtime
from tests.support.tiny_models import faces, tiny_card, tiny_model

openvino = pytest.importorskip("openvino", reason="needs the extra openvino")


@pytest.fixture
def ir(tiny_path: Path) -> Path:
    """Write the tiny model as OpenVINO IR with its card."""
    path = tiny_path.with_suffix(".xml")
    openvino.save_model(openvino.Core().read_model(tiny_path), path, compress_to_fp16=False)
    digest = openvino_digest(path.read_bytes(), path.with_suffix(".bin").read_bytes())
    card = tiny_card(format="openvino", proven=False, engine={"sha256": digest})
    path.with_suffix(".json").write_text(card.to_json())
    return path


@pytest.mark.parametrize("threads", [1, 3])
def test_scores_are_onnxruntimes(ir: Path, tiny_path: Path, threads: int) -> None:
    expected = QualityScorer(tiny_path, "cpu").score_batch(faces(20))
    for path, device in ((ir, "auto"), (ir, "cpu"), (ir, "openvino"), (tiny_path, "openvino")):
        with QualityScorer(path, device, threads) as scorer, ThreadPoolExecutor(6) as pool:
            assert (scorer.device, scorer.precision) == ("openvino", "fp32")
            scorer.warmup()
            np.testing.assert_allclose(scorer.score_batch(faces(20)), expected, rtol=0, atol=1e-5)
            np.testing.assert_allclose(list(pool.map(scorer.score, faces(20))), expected, rtol=0, atol=1e-5)


def test_fixed_batch_and_float_input(tmp_path: Path) -> None:
    card = tiny_card(input={"colour": "RGB", "layout": "NCHW", "dtype": "float32"})
    for batch in (1, 4):
        path = tmp_path / f"fixed{batch}.onnx"
        onnx.save(tiny_model(card, uint8=False, batch=batch), path)
        expected = QualityScorer(path, "cpu").score_batch(faces(6))
        np.testing.assert_allclose(QualityScorer(path, "openvino").score_batch(faces(6)), expected, rtol=0, atol=1e-5)


def test_the_hint_is_the_cards_precision(tiny_path: Path) -> None:
    runtime = open_runtime(load_model(tiny_path), "openvino")
    hint = runtime._compiled.get_property("INFERENCE_PRECISION_HINT")  # type: ignore[attr-defined]
    assert hint.to_string() == "f32"


def test_bf16_is_a_choice(tiny_path: Path) -> None:
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(DeviceError, match="no bf16"):
            QualityScorer(tiny_path, "openvino", precision="bf16")
        return
    exact, rough = (QualityScorer(tiny_path, "openvino", precision=name) for name in (None, "bf16"))
    apart = np.abs(exact.score_batch(faces(20)) - rough.score_batch(faces(20)))
    assert rough.precision == "bf16"
    assert 0 < apart.max() < 0.05


def test_what_is_quantised_stays_so_in_bf16(tmp_path: Path) -> None:
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")
    path = tmp_path / "int8.onnx"
    onnx.save(tiny_model(tiny_card(precision="int8")), path)
    assert QualityScorer(path, "openvino").precision == "int8"
    assert QualityScorer(path, "openvino", precision="bf16").precision == "int8+bf16"


def without_weights(path: Path) -> None:
    path.with_suffix(".bin").unlink()


def without_card(path: Path) -> None:
    path.with_suffix(".json").unlink()


def altered_weights(path: Path) -> None:
    data = bytearray(path.with_suffix(".bin").read_bytes())
    data[100] ^= 1
    path.with_suffix(".bin").write_bytes(data)


def card_is_no_card(path: Path) -> None:
    path.with_suffix(".json").write_text("[]")


def card_of_onnx(path: Path) -> None:
    path.with_suffix(".json").write_text(tiny_card().to_json())


def no_network(path: Path) -> None:
    path.write_text("<html></html>")


def half_a_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])
    digest = openvino_digest(path.read_bytes(), path.with_suffix(".bin").read_bytes())
    card = tiny_card(format="openvino", engine={"sha256": digest})
    path.with_suffix(".json").write_text(card.to_json())


def without_hash(path: Path) -> None:
    path.with_suffix(".json").write_text(tiny_card(format="openvino").to_json())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_weights, r"tiny.bin cannot be read"),
        (without_card, r"tiny.json cannot be read"),
        (altered_weights, "have SHA-256 .* their card says"),
        (card_is_no_card, r"tiny.json: a model card is a list"),
        (card_of_onnx, "its card says 'onnx'"),
        (no_network, "no <net> in it"),
        (half_a_file, "OpenVINO cannot load"),
        (without_hash, r"names no SHA-256.*give trust=True"),
    ],
)
def test_files_that_are_refused(ir: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(ir)
    with pytest.raises(ModelError, match=message):
        QualityScorer(ir)


def test_a_file_without_a_hash_loads_when_it_is_trusted(ir: Path) -> None:
    expected = QualityScorer(ir).score_batch(faces(3))
    without_hash(ir)
    with pytest.raises(ModelError, match="names no SHA-256"):
        QualityScorer(ir, card=tiny_card(format="openvino"))
    for card in (None, tiny_card(format="openvino")):
        with QualityScorer(ir, card=card, trust=True) as scorer:
            np.testing.assert_array_equal(scorer.score_batch(faces(3)), expected)


@pytest.mark.parametrize("device", ["cuda", "tensorrt", "openvino-ep"])
def test_devices_that_do_not_take_it(ir: Path, device: str) -> None:
    with pytest.raises(DeviceError, match="is a file for openvino, which runs on auto, cpu, openvino"):
        QualityScorer(ir, device)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"input": {"layout": "NCHW"}}, "correct the card"), ({"output": "score"}, "its card says 'score'")],
)
def test_card_that_does_not_fit(tiny_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        QualityScorer(tiny_path, "openvino", card=dataclasses.replace(tiny_card(**change)))


def test_without_openvino(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(DeviceError, match=r"pip install 'fiqa\[openvino\]'"):
        QualityScorer(tiny_path, "openvino")

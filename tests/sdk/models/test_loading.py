"""A wrong file in the place of a model: a ModelError names it, quickly."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from sdk import FaceDetector, ModelCard, ModelError, QualityScorer
from sdk.models.card import EngineFacts
from sdk.models.loading import card_path, load_model, openvino_digest, read_card_beside, write_card_beside
from tests.support.fake_gpu import write_engine
from tests.support.tiny_models import faces, tiny_card, tiny_model


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


def looped(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".engine", ".ONNX", ""])
@pytest.mark.parametrize("make", [folder, pipe, endless, sparse, looped, Path.touch, lambda path: None])
def test_what_is_no_file(make: Callable[[Path], None], suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    make(path)
    with pytest.raises(ModelError, match="model"):
        load_model(path)


@pytest.mark.parametrize(
    "name", ["a\0b.xml", "\udcff\ud800.engine", "n" * 5000 + ".onnx", "no/such/folder/m.onnx", ".xml"]
)
def test_names_that_no_file_has(name: str) -> None:
    for load in (QualityScorer, FaceDetector, lambda name: load_model(Path(name))):
        with pytest.raises(ModelError):
            load(name)


def test_a_suffix_in_capitals_and_a_link(tmp_path: Path) -> None:
    onnx.save(tiny_model(tiny_card()), tmp_path / "plain")
    (tmp_path / "LINK.ONNX").symlink_to("plain")
    assert QualityScorer(str(tmp_path / "LINK.ONNX")).score(faces(1)[0]) == QualityScorer(tmp_path / "plain").score(
        faces(1)[0]
    )


@pytest.mark.parametrize("file_format", ["tensorrt", "tensorrt-rtx", "openvino"])
def test_an_onnx_file_with_the_card_of_another_format(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    onnx.save(tiny_model(tiny_card(format=file_format)), path)
    for card in (None, tiny_card(format=file_format)):
        with pytest.raises(ModelError, match=f"is an ONNX file, but its card says '{file_format}', wanted onnx"):
            load_model(path, card, trust=True)
    assert load_model(path, tiny_card()).card.format == "onnx"


@pytest.mark.parametrize("file_format", ["onnx", "openvino"])
def test_an_engine_with_the_card_of_another_format(file_format: str, tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    with pytest.raises(
        ModelError, match=f"is an engine, but its card says '{file_format}', wanted tensorrt or tensorrt-rtx"
    ):
        load_model(path, tiny_card(format=file_format), trust=True)


@pytest.mark.parametrize("file_format", ["onnx", "tensorrt"])
def test_ir_with_the_card_of_another_format(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text('<?xml version="1.0"?><net name="a"/>')
    path.with_suffix(".bin").touch()
    digest = openvino_digest(path.read_bytes(), b"")
    write_card_beside(path, tiny_card(format="openvino", engine={"sha256": digest}))
    assert load_model(path).card.engine.sha256 == digest
    with pytest.raises(ModelError, match=f"is OpenVINO IR, but its card says '{file_format}'"):
        load_model(path, tiny_card(format=file_format), trust=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe{}", "is not UTF-8"),
        (b"[" * 500_000, "nested too deep"),
        (b" " * (2 << 20), "wanted at most 1,048,576"),
        (b"", "is not JSON"),
    ],
)
def test_a_card_beside_that_is_none(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    card_path(path).write_bytes(content)
    with pytest.raises(ModelError, match=words):
        read_card_beside(path)


def test_a_card_beside_is_written_as_it_is_read(tmp_path: Path) -> None:
    card = ModelCard("x", format="tensorrt", engine=EngineFacts(batches=(1, 2)), verification={"cpu": 1e-6})
    assert write_card_beside(tmp_path / "m.engine", card) == tmp_path / "m.json"
    assert read_card_beside(tmp_path / "m.engine") == card


@pytest.mark.parametrize("name", ["batches", "rewritten", "engines"])
def test_a_cache_of_folders_pipes_and_rubbish_changes_nothing(name: str, tiny_path: Path, own_store: Path) -> None:
    with QualityScorer(tiny_path, "cpu", threads=1) as scorer:
        expected = scorer.score_batch(faces(200)).tolist()
    written = [file for file in (own_store / name).rglob("*") if file.is_file()]
    for count, make in enumerate((folder, pipe, lambda path: path.write_text("[" * 9999))):
        for file in written:
            if count:
                file.rmdir() if file.is_dir() else file.unlink()
            else:
                file.unlink()
            make(file)
        with QualityScorer(tiny_path, "cpu", threads=1) as scorer:
            assert scorer.score_batch(faces(200)).tolist() == expected


def test_runs_of_another_shape_are_typed(tmp_path: Path) -> None:
    def saved(name: str, output: list[Any], operator: str, **more: Any) -> Path:
        nodes = [
            onnx.helper.make_node("Cast", ["image"], ["f"], to=1),
            onnx.helper.make_node(operator, ["f"], ["quality"], **more),
        ]
        image = onnx.helper.make_tensor_value_info("image", 2, ["n", 112, 112, 3])
        result = onnx.helper.make_tensor_value_info("quality", 1, output)
        graph = onnx.helper.make_graph(nodes, "g", [image], [result])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    card = dataclasses.replace(tiny_card(), name="odd")
    with pytest.raises(ModelError, match=r"gives quality float32 \(N, 37632\), wanted .*a number a face"):
        QualityScorer(saved("wide.onnx", ["n", 37632], "Flatten"), "cpu", card=card)
    one = saved("one.onnx", ["m"], "ReduceMean", axes=[0, 1, 2, 3], keepdims=0)
    with pytest.raises(ModelError):
        QualityScorer(one, "cpu", threads=1, card=card).score_batch(faces(3))

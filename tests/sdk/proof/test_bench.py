"""`fiqa bench`: its figures add up, and it recommends nothing that is not proven or not faster."""

import csv
import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import cv2
import onnx
import pytest
from typer.testing import CliRunner

from sdk import InputError
from sdk.commands.app import app
from sdk.proof.bench import Measured, numbers
from sdk.proof.bench_files import write_csv, write_plot
from sdk.proof.recommendation import recommend
from tests.support.tiny_models import faces, tiny_card, tiny_model

FP32 = Measured("a.onnx", "net", "onnx", "cpu", "fp32", 1, 2, 100, 2.0, 3.0, 4.0, 100.0, 1000, 1.0, 0.0, 1.0)


def row(precision: str, rate: float | None, failure: str = "") -> Measured:
    return dataclasses.replace(
        FP32, model=f"{precision}.onnx", precision=precision, faces_per_second=rate, failure=failure
    )


@pytest.mark.parametrize(
    ("others", "precision", "words"),
    [
        ([row("int8", 300.0)], "int8", "3.00 times the best of fp32"),
        ([row("int8", 90.0)], "fp32", "int8: not faster"),
        ([row("int8", 104.0)], "fp32", "int8: not faster"),
        ([row("int8", 300.0, "Spearman 0.9")], "fp32", "not considered: int8 on cpu (unproven)"),
        ([row("bf16", 200.0), row("int8", 190.0)], "bf16", "2.00 times"),
        ([row("fp32", 150.0)], "fp32", "150 faces/s, the most in fp32"),
        ([row("int8", None, "no such device")], "fp32", "100 faces/s"),
    ],
)
def test_what_is_recommended(others: list[Measured], precision: str, words: str) -> None:
    found = recommend([FP32, *others], "net")
    assert found is not None
    assert found[0].precision == precision
    assert words in found[1]


def test_nothing_is_recommended_without_a_reference() -> None:
    assert recommend([row("int8", 300.0)], "net") is None
    assert recommend([row("fp32", 100.0, "no fp32 file")], "net") is None
    assert recommend([FP32], "another") is None


def test_files(tmp_path: Path) -> None:
    rows = [FP32, row("int8", 300.0, "Spearman <0.99>"), row("fp16", None, "no device")]
    write_csv(tmp_path / "bench.csv", rows)
    with (tmp_path / "bench.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [line["faces_per_second"] for line in read] == ["100.0", "300.0", ""]
    assert read[1]["failure"] == "Spearman <0.99>"
    write_plot(tmp_path / "bench.svg", rows)
    bars = [node for node in ElementTree.parse(tmp_path / "bench.svg").iter() if node.get("fill", "")[:1] == "#"]
    assert [(float(bar.get("width", 0)), bar.get("fill")) for bar in bars] == [(420.0, "#bbbbbb"), (140.0, "#2a6f97")]


@pytest.mark.parametrize("text", ["", "0", "1,x", "-1", "1.5"])
def test_numbers_that_are_refused(text: str) -> None:
    assert numbers("8, 1,8", "--batch") == [1, 8]
    with pytest.raises(InputError, match="wanted positive numbers"):
        numbers(text, "--batch")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["bench", "fiqa-nano", "--out", str(tmp_path / "file")])
    assert (result.exit_code, "cannot be written" in result.output) == (2, True)


def test_command(tmp_path: Path) -> None:
    """Real processes: two precisions, one of them a file whose scores are far off, and a batch that is too large."""
    good, far, single = tmp_path / "good.onnx", tmp_path / "far.onnx", tmp_path / "single.onnx"
    onnx.save(tiny_model(tiny_card()), good)
    onnx.save(tiny_model(tiny_card(), batch=1), single)
    model = tiny_model(tiny_card(precision="int8"))
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    weights.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weights), "w1"))
    onnx.save(model, far)
    crops = tmp_path / "faces"
    crops.mkdir()
    for index, face in enumerate(faces(9)):
        cv2.imwrite(str(crops / f"{index}.png"), face)
    options = {
        "--faces": crops,
        "--batch": 2,
        "--threads": 2,
        "--rounds": 2,
        "--seconds": 0.02,
        "--out": tmp_path / "out",
    }
    words = [str(word) for option in options.items() for word in option]
    result = CliRunner().invoke(app, ["bench", *map(str, (good, far, single)), *words])
    assert result.exit_code == 0, result.output
    assert f"tiny: take {good} on cpu in fp32, batch 2, 2 threads" in result.output
    with (tmp_path / "out" / "bench.csv").open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert (float(first["largest"]), float(first["spearman"]), float(first["ratio"]), first["failure"]) == (0, 1, 1, "")
    assert float(first["faces_per_second"]) > 0
    assert 0 < float(first["p50"]) <= float(first["p95"]) <= float(first["p99"])
    assert int(first["size"]) == good.stat().st_size
    assert "Spearman" in second["failure"] or "shift" in second["failure"]
    assert third["failure"] == "takes 1 faces a call on cpu"

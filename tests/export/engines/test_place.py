"""Where an engine can be built, and which options fit."""

import sys
from pathlib import Path

import onnx
import pytest

from export.engines import place
from export.engines import tensorrt as engine
from export.engines.place import CannotBuildHereError
from export.engines.tensorrt import build_engine
from export.settings import EngineOptions
from export.targets import get_target
from sdk import InputError, ModelCard, ModelError


@pytest.mark.parametrize(("opset", "ir_version", "words"), [(21, 9, "opset 21"), (20, 10, "IR 10")])
def test_a_file_that_is_newer_than_its_target(
    opset: int, ir_version: int, words: str, graphs: dict[tuple[str, str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load_from_string(graphs["fiqa-nano", "fp16"])
    model.opset_import[0].version, model.ir_version = opset, ir_version
    monkeypatch.setattr(place, "gpu_architecture", lambda number: "8.7")
    monkeypatch.setattr(engine, "load_library", lambda format_name: None)
    with pytest.raises(ModelError, match=f"the ONNX file has {words}, and jetson-orin reads up to (20|9); export it"):
        build_engine(
            model.SerializeToString(), ModelCard(name="x", precision="fp16"), "tensorrt", get_target("jetson-orin")
        )


@pytest.mark.parametrize(
    ("format_name", "target", "options", "words"),
    [
        ("tensorrt", "cpu", EngineOptions(), "cpu runs onnx, not tensorrt"),
        ("tensorrt-rtx", "jetson-orin", EngineOptions(), "jetson-orin runs tensorrt, onnx, not tensorrt-rtx"),
        ("tensorrt-rtx", None, EngineOptions(), "there is no GPU here to build for; name a target"),
        ("tensorrt-rtx", "rtx-30", EngineOptions(()), "wanted at least one positive number"),
        ("tensorrt-rtx", "rtx-30", EngineOptions((0, 1)), "wanted at least one positive number"),
        ("tensorrt-rtx", "rtx-30", EngineOptions(timing_cache=Path("t")), "leave out --timing-cache"),
    ],
)
def test_what_does_not_go_together(
    format_name: str, target: str | None, options: EngineOptions, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "gpu_architecture", lambda number: None)
    with pytest.raises(InputError, match=words):
        build_engine(b"", ModelCard(name="x"), format_name, get_target(target) if target else None, options)


@pytest.mark.parametrize(
    ("here", "target", "words"),
    [
        (None, "jetson-orin", r"wanted is one of compute capability 8\.7, here is none"),
        ("8.6", "jetson-orin", r"wanted is one of compute capability 8\.7, here is 8\.6"),
        (None, None, "wanted is a GPU, here is none"),
        ("8.7", "jetson-orin", r"TensorRT cannot be loaded"),
    ],
)
def test_an_engine_that_cannot_be_built_here(
    here: str | None, target: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # type: ignore[arg-type]
    monkeypatch.setattr(place, "gpu_architecture", lambda number: here)
    chosen = get_target(target) if target else None
    with pytest.raises(CannotBuildHereError, match=words + ".*run: fiqa-export build") as caught:
        build_engine(b"", ModelCard(name="ediffiqa-s", precision="fp16"), "tensorrt", chosen, EngineOptions((1, 8)))
    where = f" --target {target}" if target else ""
    assert caught.value.command == f"fiqa-export build ediffiqa-s.onnx --format tensorrt{where} --batch 1,8"

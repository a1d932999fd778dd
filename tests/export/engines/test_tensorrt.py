"""Engines that TensorRT-RTX really builds, for GPUs that are not here, of files that fiqa-export really writes."""

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from export.engines import place
from export.engines import tensorrt as engine
from export.engines.layer_report import PRODUCTS
from export.engines.tensorrt import build_engine
from export.formats.onnx_inspection import layer_precisions
from export.graph.rewrite import value_types
from export.proof.crops import verification_faces
from export.settings import EngineOptions
from export.targets import get_target
from sdk import InputError, ModelCard, ModelError
from sdk.models.card import EngineFacts
from sdk.models.trust import was_built_here

NETWORKS = ("ediffiqa-t", "fiqa-nano")


TARGETS = {"rtx-20": "7.5", "rtx-30": "8.6", "rtx-40": "8.9", "rtx-50": "12.0"}


def count_products(model: bytes) -> int:
    return sum(node.op_type in PRODUCTS for node in onnx.load_from_string(model).graph.node)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("precision", "target"), [("fp16", "rtx-20"), *((p, t) for p in ("fp16", "int8+fp16") for t in list(TARGETS)[1:])]
)
def test_every_layer_is_in_the_precision_asked_for(
    network: str, precision: str, target: str, graphs: dict[tuple[str, str], bytes], rtx: str
) -> None:
    model = graphs[network, precision]
    card = ModelCard(name=network, precision=precision)
    built = build_engine(model, card, "tensorrt-rtx", get_target(target), EngineOptions((8, 1)))
    assert built.card.format == "tensorrt-rtx"
    assert not built.card.proven
    layers = built.card.engine.layers
    assert built.card.engine == EngineFacts(
        sha256=hashlib.sha256(built.data).hexdigest(), version=rtx, architectures=(TARGETS[target],), batches=(1, 8),
        target=target, layers=layers,
        command=f"fiqa-export build {network}.onnx --format tensorrt-rtx --target {target} --batch 1,8",
    )  # fmt: skip
    assert was_built_here(built.card.engine.sha256)
    if precision == "fp16":
        # Nothing that is as large as a feature map is float32: only what gives the score may be.
        assert layers.get("fp32", 0) <= 1
        assert layers["fp16"] >= count_products(model)
        assert len(built.data) < 0.9 * len(graphs[network, "fp32"]) or target == "rtx-20"
    else:
        graph = onnx.load_from_string(model)
        assert layers["int8"] == layer_precisions(graph.graph, value_types(graph))["int8"] > 30
    assert layers["uint8"] == 1


@pytest.mark.parametrize("precision", ["fp16", "int8+fp16"])
def test_an_engine_that_would_stay_in_fp32(precision: str, graphs: dict[tuple[str, str], bytes], rtx: str) -> None:
    card = ModelCard(name="fiqa-nano", precision=precision)
    with pytest.raises(ModelError, match=rf"products in fp32 \(52\), wanted {precision.replace('+', '.')}"):
        build_engine(graphs["fiqa-nano", "fp32"], card, "tensorrt-rtx", get_target("rtx-30"))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_last_layer_as_a_sum_gives_the_same_scores(network: str, graphs: dict[tuple[str, str], bytes]) -> None:
    # Turing has no product in float32, see `export.graph.float16`.
    operators = [node.op_type for node in onnx.load_from_string(graphs[network, "fp16"]).graph.node]
    assert operators[-3:] == ["Mul", "ReduceSum", "Add"]
    scores = {}
    for precision in ("fp32", "fp16"):
        session = onnxruntime.InferenceSession(graphs[network, precision], providers=["CPUExecutionProvider"])
        scores[precision] = session.run(None, {"faces": verification_faces()[:4]})[0]
    assert scores["fp16"].shape == (4, 1)
    assert 0 < np.abs(scores["fp16"] - scores["fp32"]).max() < 5e-3


def test_turing_has_no_int8(graphs: dict[tuple[str, str], bytes], rtx: str, monkeypatch: pytest.MonkeyPatch) -> None:
    card = ModelCard(name="ediffiqa-t", precision="int8+fp16")
    model = graphs["ediffiqa-t", "int8+fp16"]
    with pytest.raises(InputError, match=r"rtx-20 .* runs fp16, not int8\+fp16; give --precision one of these"):
        build_engine(model, card, "tensorrt-rtx", get_target("rtx-20"))
    # Without the target's word the library builds one, and computes its convolutions in fp16: the report tells.
    monkeypatch.setattr(place, "gpu_architecture", lambda number: "7.5")
    with pytest.raises(ModelError, match=r"is not int8\+fp16: \d+ of \d+ .* int8 became fp16"):
        build_engine(model, card, "tensorrt-rtx", None)


def test_the_library_says_why_it_does_not_build(
    graphs: dict[tuple[str, str], bytes], rtx: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = ModelCard(name="fiqa-nano")
    monkeypatch.setattr(place, "gpu_architecture", lambda number: "7.5")
    with pytest.raises(ModelError, match=r"fp32 model for compute capability 7\.5: .*FP32 GEMM is not supported"):
        build_engine(graphs["fiqa-nano", "fp32"], card, "tensorrt-rtx")
    monkeypatch.setattr(place, "gpu_architecture", lambda number: "9.0")
    with pytest.raises(InputError, match=r"does not build for compute capability 9\.0, but for SM75, .*SM86"):
        build_engine(graphs["fiqa-nano", "fp32"], card, "tensorrt-rtx")
    with pytest.raises(ModelError, match="not an ONNX file"):
        build_engine(b"\x08\x09", card, "tensorrt-rtx", get_target("rtx-30"))
    unknown = onnx.load_from_string(graphs["fiqa-nano", "fp32"])
    unknown.graph.node[-1].op_type = "Unheard"
    with pytest.raises(ModelError, match=r"TensorRT-RTX cannot read the model: .*Unheard"):
        build_engine(unknown.SerializeToString(), card, "tensorrt-rtx", get_target("rtx-30"))


@pytest.mark.filterwarnings("ignore:.*no-ops in TensorRT-RTX")
def test_tensorrt_goes_the_same_way(
    graphs: dict[tuple[str, str], bytes], rtx: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """TensorRT needs a GPU to build. TensorRT-RTX, which has its interface, stands in for it."""
    library, asked, configure = import_module("tensorrt_rtx"), [], engine._configure

    def for_a_gpu_that_is_not_here(*arguments: Any) -> Any:
        asked.append(arguments[3:])
        config = configure(*arguments)
        engine._set_capabilities(library, config, ["8.6"])
        return config

    monkeypatch.setattr(engine, "_configure", for_a_gpu_that_is_not_here)
    monkeypatch.setattr(engine, "load_library", lambda format_name: library)
    monkeypatch.setattr(place, "gpu_architecture", lambda number: "8.6")
    card, cache = ModelCard(name="fiqa-nano", precision="fp16"), tmp_path / "new" / "timing"
    built = build_engine(
        graphs["fiqa-nano", "fp16"], card, "tensorrt", None, EngineOptions((8, 1), workspace_mib=64, timing_cache=cache)
    )
    assert asked == [([(1, 1, 1), (8, 8, 8)], 64)]
    assert (built.card.format, built.card.engine.architectures) == ("tensorrt", ("8.6",))
    assert {layer.inputs for layer in built.layers if layer.kind == "correlation"} == {("fp16",)}
    assert cache.read_bytes()

"""Replacing PReLU: the scores stay equal, and nothing else changes."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

from sdk.onnx_bytes.prelu import replace_prelu
from tests.support.tiny_models import faces, tiny_card, tiny_model


def scores(model: bytes, batch: np.ndarray) -> np.ndarray:
    """Return all outputs of a plain session of onnxruntime."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate(session.run(None, {"image": batch}), axis=1)


@pytest.mark.parametrize("slopes", ["as they are", "negative", "above 1"])
@pytest.mark.parametrize("uint8", [True, False])
def test_scores_are_equal(uint8: bool, slopes: str) -> None:
    tiny = tiny_model(tiny_card(), uint8=uint8, outputs=2)
    for tensor in tiny.graph.initializer:
        if tensor.name == "act1_slope" and slopes != "as they are":
            values = onnx.numpy_helper.to_array(tensor) + (-0.5 if slopes == "negative" else 0.8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    model = tiny.SerializeToString()
    batch = faces(5) if uint8 else np.random.default_rng(0).uniform(-1, 1, (5, 3, 112, 112)).astype(np.float32)
    rewritten = replace_prelu(model)
    onnx.checker.check_model(onnx.load_from_string(rewritten), full_check=True)
    np.testing.assert_allclose(scores(rewritten, batch), scores(model, batch), rtol=0, atol=1e-6)
    assert np.ptp(scores(model, batch)[:, 0]) > 1e-3


def test_what_is_rewritten() -> None:
    before = tiny_model(tiny_card())
    after = onnx.load_from_string(replace_prelu(before.SerializeToString()))
    old, new = (Counter(node.op_type for node in model.graph.node) for model in (before, after))
    # Three of four: the one after flattened features stays.
    assert old["PRelu"] == 4
    assert new["PRelu"] == 1
    assert new - old == {"Constant": 6, "Conv": 6, "Relu": 3, "Add": 3}
    assert after.metadata_props == before.metadata_props
    assert after.graph.initializer == before.graph.initializer
    assert after.graph.output == before.graph.output


def test_a_model_without_prelu_is_left_alone() -> None:
    model = tiny_model(tiny_card(), prelu=False).SerializeToString()
    assert replace_prelu(model) is model


@pytest.mark.parametrize("kind", ["slopes are an input", "slopes are float16", "a slope for each pixel"])
def test_other_prelu_is_left_alone(kind: str) -> None:
    model = tiny_model(tiny_card())
    slope = next(tensor for tensor in model.graph.initializer if tensor.name == "act1_slope")
    if kind == "slopes are an input":
        model.graph.initializer.remove(slope)
    elif kind == "slopes are float16":
        slope.data_type = onnx.TensorProto.FLOAT16
    else:
        slope.dims[1] = 28
    after = onnx.load_from_string(replace_prelu(model.SerializeToString()))
    assert [node.output[0] for node in after.graph.node if node.op_type == "PRelu"] == ["act1", "features"]

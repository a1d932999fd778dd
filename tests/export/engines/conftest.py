"""Files to build engines of, and the library."""

import onnx
import pytest

from export.graph.float16 import to_float16
from export.graph.from_torch import trace_network
from export.graph.front_end import add_front_end
from export.graph.int8 import quantise
from export.proof.crops import verification_faces
from sdk import ModelCard
from sdk.models.card import METADATA_KEY
from tests.support.weights import tame_network
from train.networks import get_variant

NETWORKS = ("ediffiqa-t", "fiqa-nano")


@pytest.fixture(scope="session")
def graphs() -> dict[tuple[str, str], bytes]:
    """ONNX files by network and precision, with random weights."""
    found = {}
    for network in NETWORKS:
        variant = get_variant(network)
        plain = add_front_end(trace_network(tame_network(network)), variant.mean, variant.std)
        whole = quantise(plain, verification_faces()[:16]).model
        models = {"fp32": plain, "fp16": to_float16(plain), "int8": whole, "int8+fp16": to_float16(whole)}
        for precision, model in models.items():
            card = ModelCard(name=network, precision=precision)
            onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
            found[network, precision] = model.SerializeToString()
    return found


@pytest.fixture
def rtx() -> str:
    """The name of TensorRT-RTX's version."""
    library = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx (fiqa[tensorrt-rtx], x86-64)")
    version: str = library.__version__
    return version

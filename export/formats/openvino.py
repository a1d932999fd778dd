"""OpenVINO IR: an `.xml` and its `.bin`."""

import contextlib
import dataclasses
import io
import logging
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from export.formats.facts import card_facts, counted
from export.formats.table import ExportFormat, Facts, Order, Written
from sdk.errors import DeviceError, ModelError
from sdk.files import write_errors, write_file
from sdk.models.card import EngineFacts
from sdk.models.loading import load_model, openvino_digest, write_card_beside

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _write(order: Order) -> Written:
    xml, weights, version = to_openvino(
        order.model.SerializeToString(deterministic=True), order.card.precision, order.calibration
    )
    engine = EngineFacts(sha256=openvino_digest(xml, weights), version=version)
    card, path = dataclasses.replace(order.card, format="openvino", engine=engine), order.path("openvino")
    write_file(path, xml)
    write_file(path.with_suffix(".bin"), weights)
    write_card_beside(path, card)
    if order.calibration is None:
        return Written(path, card)
    return Written(path, card, {"method": "NNCF", "faces": len(order.calibration), "folder": order.calibration_origin})


def to_openvino(model: bytes, precision: str, faces: "NDArray[np.uint8] | None" = None) -> tuple[bytes, bytes, str]:
    """Convert an ONNX file.

    Args:
        model: ONNX in fp32.
        precision: `fp32`; `fp16`, which halves the weights in the file, from which OpenVINO computes in fp32; or
            `int8`, quantised by NNCF.
        faces: For `int8`, uint8 BGR (N, 112, 112, 3), good and bad faces to measure ranges on.

    Returns:
        The `.xml`, the `.bin`, and the version of OpenVINO.

    Raises:
        ModelError: OpenVINO or NNCF is not installed, or cannot convert the model.
    """
    from sdk.runtimes.openvino import load_openvino

    try:
        openvino = load_openvino()
    except DeviceError as error:
        raise ModelError(f"{error}; to export, pip install 'fiqa[openvino-export]'") from error
    try:
        network = openvino.Core().read_model(model, b"")
        if precision == "int8":
            network = _quantise(network, faces)
        with write_errors(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.xml"
            openvino.save_model(network, path, compress_to_fp16=precision == "fp16")
            return path.read_bytes(), path.with_suffix(".bin").read_bytes(), str(openvino.__version__)
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot convert the model: {error}; export the checkpoint (.pth) instead") from error


def _quantise(network: object, faces: "NDArray[np.uint8] | None") -> object:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import nncf
            from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ImportError as error:
        raise ModelError(f"NNCF is not installed ({error}): pip install 'fiqa[openvino-export]'") from error
    if faces is None:
        raise ValueError("int8 needs faces")
    nncf.set_log_level(logging.ERROR)
    # NNCF prints progress bars and notes.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return nncf.quantize(
            network,
            nncf.Dataset(list(faces[:, None])),
            preset=nncf.QuantizationPreset.MIXED,  # asymmetric activations: PReLU gives negative values
            subset_size=len(faces),
            # The default range is the mean over faces; it moves the scores of fiqa-nano by 0.03.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
        )


def _inspect(path: Path) -> Facts:
    loaded = load_model(path, trust=True)  # nothing in it is run
    if b"<!DOCTYPE" in loaded.data or b"\0" in loaded.data:
        raise ModelError(f"{path} defines entities or is not UTF-8, so it is no OpenVINO IR; export it again")
    try:
        root = ElementTree.fromstring(loaded.data)
    except ElementTree.ParseError as error:
        raise ModelError(f"{path} is not XML ({error}); export it again") from error
    kinds = [layer.get("type", "") for layer in root.iter("layer")]
    ends = {
        kind: ", ".join(
            f"{layer.get('name')}: {'x'.join(dim.text or '' for dim in layer.iter('dim'))}"
            for layer in root.iter("layer")
            if layer.get("type") == kind
        )
        for kind in ("Parameter", "Result")
    }
    types = Counter(
        data.get("element_type", "") for layer in root.iter("layer") if layer.get("type") == "Const"
        for data in layer.iter("data")
    )  # fmt: skip
    return {
        "bytes": f"{len(loaded.data) + len(loaded.weights):,}",
        **card_facts(loaded.card),
        "inputs": ends["Parameter"],
        "outputs": ends["Result"],
        "opset, IR": f"-, OpenVINO IR {root.get('version')}",
        "operators": counted(Counter(kind for kind in kinds if kind not in ("Const", "Parameter", "Result"))),
        "weights": counted(types) + " constants",
        "OpenVINO": f"runs; written by {loaded.card.engine.version or 'an unknown version'}",
    }


OPENVINO = ExportFormat(_write, _inspect, "OpenVINO, on CPUs", proven_in=("openvino",))

"""OpenVINO IR: an `.xml` and its `.bin`."""

import contextlib
import io
import logging
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdk.errors import DeviceError, ModelError
from sdk.files import write_errors
from sdk.runtimes.openvino import load_openvino


def to_openvino(model: bytes, precision: str, faces: NDArray[np.uint8] | None = None) -> tuple[bytes, bytes, str]:
    """Convert an exported file.

    Args:
        model: ONNX in fp32.
        precision: `fp32`; `fp16`, which halves the weights in the file (OpenVINO computes in fp32 from them); or
            `int8`, quantised by NNCF.
        faces: For `int8`, (N, 112, 112, 3) uint8 BGR, good and bad.

    Returns:
        The `.xml`, the `.bin`, and the version of OpenVINO.

    Raises:
        ModelError: OpenVINO or NNCF is not installed, or cannot convert the model.
    """
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


def _quantise(network: object, faces: NDArray[np.uint8] | None) -> object:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import nncf
            from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ImportError as error:
        raise ModelError(f"NNCF is not installed ({error}): pip install 'fiqa[openvino-export]'") from error
    if faces is None:
        raise ValueError("int8 needs faces")
    nncf.set_log_level(logging.ERROR)
    # Its bars and notes are for people who run NNCF by itself.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return nncf.quantize(
            network,
            nncf.Dataset(list(faces[:, None])),
            preset=nncf.QuantizationPreset.MIXED,  # asymmetric activations: PReLU gives negative values
            subset_size=len(faces),
            # By default ranges are a mean of each face's: scores of fiqa-nano then move by 0.03.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
        )

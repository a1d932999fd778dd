"""Learned measures: which damage a crop has, how strong it is, and how far the head is turned."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ModelError
from sdk.models.loading import load_model
from sdk.runtimes.base import check_input
from sdk.runtimes.per_process import NativeHandle

MODEL = "fiqa-reasons"

OUTPUTS = (
    "misalignment", "over_exposure", "darkness", "occlusion", "blur", "resolution", "noise", "compression", "yaw",
)  # fmt: skip
"""What the network gives, each in [0, 1]: grades of `train.degradations.graded`, and yaw in quarter turns."""

GRADES = (0.0, 0.1, 1.0)
"""Grades at which `VALUES` are given. Those below 0.1 are not in the training data: there is a straight line to 0."""

VALUES: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "misalignment": (0, 10, 100),
        "over_exposure": (0, 0.8, 3.6),
        "darkness": (0, 1.2, 5.1),
        "occlusion": (0, 11.5, 70),
        "blur": (0, 3.0, 19.9),
        "resolution": (35.2, 16.1, 2.2),
        "noise": (0, 9.7, 70),
        "compression": (0, 10, 100),
        "yaw": (0, 9, 90),
    }
)
"""Values of each output at `GRADES`, by the formulas of `train.degradations.graded`, in the units of
`sdk.decision.measures`. The eyes are 35.2 pixels apart in a crop. Resolution is interpolated in its logarithm."""


class DamageNetwork:
    """The embedded network in onnxruntime, on the CPU. A call uses one thread; several threads may share it.

    Raises:
        ModelError: onnxruntime cannot load the file.
    """

    def __init__(self) -> None:
        self._session = NativeHandle(_open(), partial(_open))

    def measures(self, crops: NDArray[np.uint8]) -> list[dict[str, float]]:
        """Return the learned measures of each crop.

        Args:
            crops: uint8 BGR (N, 112, 112, 3).

        Raises:
            ModelError: The network gives no numbers.
        """
        with self._session as session:
            grades = session.run(None, {"faces": crops})[0]
        if not np.isfinite(grades).all():
            raise ModelError(f"{MODEL} gives values that are no numbers; check its file (fiqa models verify)")
        return [values_of(dict(zip(OUTPUTS, row, strict=True))) for row in grades.tolist()]


def values_of(grades: dict[str, float]) -> dict[str, float]:
    """Turn the network's outputs into values in the units of their measures."""
    values = {name: float(np.interp(grade, GRADES, VALUES[name])) for name, grade in grades.items()}
    values["resolution"] = float(np.exp(np.interp(grades["resolution"], GRADES, np.log(VALUES["resolution"]))))
    return values


def _open() -> Any:
    from sdk.runtimes.onnxruntime import open_session, tensor_info

    model = load_model(MODEL)
    session = open_session(model.data, model, ["CPUExecutionProvider"])
    name = check_input(model, [tensor_info(value) for value in session.get_inputs()]).name
    shape = session.get_outputs()[0].shape
    if name != "faces" or shape[-1] != len(OUTPUTS):
        raise ModelError(f"{model.path} takes {name!r} and gives {shape}, wanted 'faces' and {len(OUTPUTS)} values")
    return session

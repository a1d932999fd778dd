"""Learned measures: which damage a crop has, how strong it is, and how far the head is turned."""

from functools import partial
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

EYES = 35.24
"""Distance between the eyes in a crop, pixels."""

STRONGEST = {
    "misalignment": 100.0, "over_exposure": 3.6, "darkness": 5.0, "occlusion": 70.0, "blur": 20.0, "noise": 70.0,
    "compression": 100.0, "yaw": 90.0,
}  # fmt: skip
"""Values of grade 1, in the units of `sdk.decision.measures`: stops of light, % of the crop, % of the distance between
the eyes, grey levels, degrees."""


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
    values = {name: grade * STRONGEST[name] for name, grade in grades.items() if name != "resolution"}
    return values | {"resolution": detail(grades["resolution"])}


def detail(grade: float) -> float:
    """Return the pixels across the eyes that a crop of a grade of `low_resolution` really has: 35 to 2.2.

    The crop itself has no more than 35. Grades begin at 64 of its 112 pixels; below 0.1 they are not told apart.
    """
    return float(EYES * (64 / 112) ** min(1.0, 10 * grade) * (7 / 64) ** grade)


def _open() -> Any:
    from sdk.runtimes.onnxruntime import open_session, tensor_info

    model = load_model(MODEL)
    session = open_session(model.data, model, ["CPUExecutionProvider"])
    name = check_input(model, [tensor_info(value) for value in session.get_inputs()]).name
    shape = session.get_outputs()[0].shape
    if name != "faces" or shape[-1] != len(OUTPUTS):
        raise ModelError(f"{model.path} takes {name!r} and gives {shape}, wanted 'faces' and {len(OUTPUTS)} values")
    return session

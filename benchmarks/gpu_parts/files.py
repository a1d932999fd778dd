"""Files that parts read: exports, and faces for a run without data."""

from pathlib import Path

import cv2
import numpy as np

PEOPLE = 8


def file_of(models: Path | None, work: Path, name: str, precision: str) -> Path:
    """Return the path of an exported file: given in `models`, or made in `work`."""
    ending = name + ("" if precision == "fp32" else f"-{precision}")
    given = None if models is None else models / name / f"{ending}.onnx"
    return given if given is not None and given.exists() else work / "exports" / name / f"{ending}.onnx"


def make_faces(folder: Path, count: int) -> None:
    """Write crops of smoothed noise with a manifest."""
    draw = np.random.default_rng(0)
    lines = ["path,identity"]
    for index in range(count):
        person = f"p{index % PEOPLE:02}"
        (folder / person).mkdir(parents=True, exist_ok=True)
        face = cv2.GaussianBlur(draw.integers(0, 256, (112, 112, 3), np.uint8), (0, 0), 3)
        cv2.imwrite(str(folder / person / f"{index:05}.jpg"), cv2.normalize(face, None, 0, 255, cv2.NORM_MINMAX))
        lines.append(f"{person}/{index:05}.jpg,{person}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")

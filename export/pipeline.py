"""The whole way: load, front end, card, verify, write."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from export.card import make_card, with_card
from export.faces import verification_faces
from export.frontend import IR_VERSION, OPSET, take_images
from export.load import load_source
from export.verify import TOLERANCE, check_form, compare, normalised
from sdk.models.card import ModelCard


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written and what was measured on it.

    Attributes:
        path: The ONNX file.
        report: The JSON file beside it.
        card: The card inside it.
        sha256: Of the ONNX file.
        size: Bytes of the ONNX file.
        faces: Number of faces it was verified on.
    """

    path: Path
    report: Path
    card: ModelCard
    sha256: str
    size: int
    faces: int

    @property
    def differences(self) -> Mapping[str, float]:
        """Largest difference by runtime and batch size."""
        return self.card.verification


def export_model(name: str, weights: Path | None = None, out: Path = Path(), faces: Path | None = None) -> Exported:
    """Write `<out>/<name>.onnx` and `<out>/<name>.json`, or nothing at all.

    The same weights on the same machine give the same bytes.

    Args:
        name: A quality network of `train.networks.VARIANTS`.
        weights: `.pth`, `.safetensors` or `.onnx`; None fetches the published file.
        out: Folder, made where it is missing.
        faces: Folder of aligned crops to verify on; None takes the packaged ones.

    Raises:
        FiqaError: The weights cannot be had or are not that network, or the verification failed.
    """
    crops = verification_faces(faces)
    source = load_source(name, weights)
    card = make_card(name, source)
    mean, std = card.input.mean, card.input.std
    model = take_images(source.core, mean, std)
    expected = source.reference(normalised(crops, mean, std))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=out) as folder:
        # The proof is made on a file that differs from the final one in the card's numbers only.
        draft = Path(folder) / f"{name}.onnx"
        draft.write_bytes(with_card(model, card))
        check_form(draft)
        differences = compare(draft, crops, expected)
        content = with_card(model, card, differences)
        draft.write_bytes(content)
        check_form(draft)
        card = ModelCard.from_dict({**card.to_dict(), "verification": differences})
        exported = Exported(
            out / draft.name, out / f"{name}.json", card, sha256(content).hexdigest(), len(content), len(crops)
        )
        report = Path(folder) / exported.report.name
        report.write_text(json.dumps(_report(exported), indent=2) + "\n", encoding="utf-8")
        os.replace(draft, exported.path)
        os.replace(report, exported.report)
    return exported


def _report(exported: Exported) -> dict[str, object]:
    packages = ("torch", "onnx", "onnxruntime", "opencv-python-headless")
    return {
        "file": exported.path.name,
        "sha256": exported.sha256,
        "bytes": exported.size,
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "faces": exported.faces,
        "tolerance": TOLERANCE,
        "largest_differences": dict(exported.differences),
        "versions": {package: version(package) for package in packages},
        "card": exported.card.to_dict(),
    }

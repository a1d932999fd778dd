"""The files beside a model: report, licence notice and proof."""

import dataclasses
import io
import json
import math
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.models.card import ModelCard
from sdk.proof.verify import TOLERANCES, Agreement, proof_source

NOTICE = "NOTICE.txt"
_PACKAGES = ("fiqa", "torch", "onnx", "onnxruntime", "opencv-python-headless", "openvino", "nncf")


def as_json(values: object) -> bytes:
    """Return indented JSON. Numbers that are not finite, which a failed proof may have, become null."""
    return (json.dumps(_finite(values), indent=2, allow_nan=False) + "\n").encode()


def notice(card: ModelCard) -> bytes:
    """Return the licence notice, which must be passed on with the files."""
    parts = {
        "Model": f"{card.name} ({card.summary})" if card.summary else card.name,
        "Licence": card.licence or "unknown: that of the weights",
        "Attribution": card.attribution or "none required",
        "Weights": ", ".join(filter(None, (card.source, f"SHA-256 {card.source_sha256}"))),
        "Training data": card.training_data or "not stated",
        "Method": card.paper,
    }
    text = "\n".join(f"{name}: {value}" for name, value in parts.items() if value)
    return f"{text}\n\nExported by fiqa (Apache-2.0), which does not change the licence of the weights.\n".encode()


def proof_file(faces: NDArray[np.uint8], scores: NDArray[np.float32], source_sha256: str) -> bytes:
    """Return `proof.npz`: faces, the source's scores, and the SHA-256 of the source; see `sdk.proof.verify`."""
    file = io.BytesIO()
    np.savez_compressed(file, faces=faces, scores=scores, source=np.array(source_sha256))
    return file.getvalue()


def check_folder(out: Path, source_sha256: str) -> None:
    """Refuse a folder that holds an export of other weights: a folder has one proof.

    Raises:
        InputError: The folder holds one.
    """
    found = proof_source(out)
    if found not in (None, source_sha256):
        raise InputError(
            f"{out} holds an export of other weights (SHA-256 {ascii(found)[1:13]}..., these are "
            f"{source_sha256[:12]}...); give --out another folder"
        )


def report(
    files: Mapping[str, tuple[int, str]],
    card: ModelCard,
    faces: Mapping[str, Any],
    agreements: Mapping[str, Agreement],
    **more: object,
) -> bytes:
    """Return the verification report, as JSON.

    Args:
        files: Bytes and SHA-256 of every model file, by its name.
        card: The final card.
        faces: Number and origin of the images that the file was verified on.
        agreements: Agreement with the source, by runtime and batch.
        more: Further facts, by name.
    """
    tolerance = dataclasses.asdict(TOLERANCES[card.precision])
    return as_json(
        {
            "files": {name: {"bytes": size, "sha256": digest} for name, (size, digest) in files.items()},
            "proven": card.proven,
            "faces": dict(faces),
            "tolerance": {name: value for name, value in tolerance.items() if value is not None},
            "agreement": {place: dataclasses.asdict(found) for place, found in agreements.items()},
            **more,
            "versions": _versions(),
            "card": card.to_dict(),
        }
    )


def _finite(values: object) -> object:
    if isinstance(values, Mapping):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

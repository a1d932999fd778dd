"""Build the page that scores faces in the browser: `python examples/browser/build.py OUT`.

The folder OUT then needs nothing else. Any web server shows it: `python -m http.server --directory OUT`.
onnxruntime-web comes from npm, once; its digest is checked. `--package FILE` takes a file that is here already.
"""

import argparse
import base64
import hashlib
import importlib.util
import inspect
import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import asdict
from pathlib import Path

from sdk import FaceDetector, alignment
from sdk.decision.measures import SCALES
from sdk.decision.texts import default_texts
from sdk.detection import boxes, face_detector, networks
from sdk.images.decoding import MAX_PIXELS
from sdk.images.encoded import MIN_SIDE
from sdk.measuring import damage, geometry, light
from sdk.models.loading import load_model

ROOT = Path(__file__).parents[2]
PAGE = ("index.html", "style.css", "page.js", "worker.js", "pixels.js", "alignment.js", "detector.js", "reasons.js")
MODELS = ("fiqa-detector", "fiqa-nano", "fiqa-reasons")
PACKAGE = "onnxruntime-web@1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
WANTED = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
KEPT = ROOT / "build" / f"{PACKAGE.replace('@', '-')}.tgz"
"""The package, once it was fetched."""


class NoPackageError(Exception):
    """onnxruntime-web cannot be fetched: there is no npm, or no network."""


def main() -> None:
    """Build the page."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("out", type=Path, help="folder to write; what it holds of an earlier build is replaced")
    options.add_argument("--package", type=Path, help=f"npm's file of {PACKAGE}, instead of fetching it")
    given = options.parse_args()
    try:
        build(given.out, given.package or fetch())
    except (NoPackageError, OSError, ValueError) as error:
        sys.exit(str(error))
    print(f"{given.out}: python -m http.server --directory {given.out}, then http://localhost:8000/")


def fetch() -> Path:
    """Return npm's file of onnxruntime-web; fetch it where it is not here yet.

    Raises:
        NoPackageError: It cannot be fetched.
    """
    if not KEPT.is_file():
        npm = shutil.which("npm")
        if npm is None:
            raise NoPackageError(f"npm is missing; install it, or give the file of {PACKAGE} with --package")
        KEPT.parent.mkdir(exist_ok=True)
        command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", str(KEPT.parent)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise NoPackageError(f"npm cannot fetch {PACKAGE}: {done.stderr.strip()}; give its file with --package")
    return KEPT


def build(out: Path, package: Path) -> None:
    """Write the page, the networks, the facts of the SDK, and onnxruntime-web.

    Raises:
        ValueError: The package is another file than npm's.
    """
    data = package.read_bytes()
    found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != INTEGRITY:
        raise ValueError(f"{package} has the digest {found}, wanted {INTEGRITY}; delete the file and fetch it again")
    runtime = importlib.util.find_spec("onnxruntime")
    if runtime is None:
        raise ValueError("onnxruntime is missing, whose licence goes with the page: pip install 'fiqa[cpu]'")
    for folder in (out, out / "models", out / "onnxruntime"):
        folder.mkdir(parents=True, exist_ok=True)
    for name in PAGE:
        shutil.copyfile(Path(__file__).with_name(name), out / name)
    for name in MODELS:
        (out / "models" / f"{name}.onnx").write_bytes(load_model(name).data)
    shutil.copyfile(ROOT / "docs" / "images" / "people.jpg", out / "example.jpg")
    with tarfile.open(package) as archive:
        for name in WANTED:
            content = archive.extractfile(f"package/dist/{name}")
            (out / "onnxruntime" / name).write_bytes(content.read() if content else b"")
    licences = Path(str(runtime.origin)).parent  # the same project's, for Python
    for name in ("LICENSE", "ThirdPartyNotices.txt"):
        shutil.copyfile(licences / name, out / "onnxruntime" / name)
    (out / "facts.json").write_text(json.dumps(facts()), encoding="utf-8")


def facts() -> dict[str, object]:
    """Return what the page must know of the SDK: all constants and tables, so that none is written twice."""
    calibration = load_model("fiqa-nano").card.calibration
    return {
        "min_side": MIN_SIDE,
        "max_pixels": MAX_PIXELS,
        "crop_size": alignment.CROP_SIZE,
        "template": alignment.TEMPLATE.tolist(),
        "passes": networks.FaceCells.passes,
        "strides": networks.STRIDES,
        "farthest": networks.FARTHEST,
        "min_confidence": inspect.signature(FaceDetector).parameters["min_confidence"].default,
        "max_enlargement": face_detector.MAX_ENLARGEMENT,
        "small_face": face_detector.SMALL_FACE,
        "fills": face_detector.FILLS,
        "overlap": face_detector.OVERLAP,
        "nms": boxes.NMS,
        "calibration": {
            "scores": calibration.scores,
            "rates": calibration.rates,
            "points": {point.name: point.score for point in calibration.thresholds},
        },
        "scales": {name: asdict(scale) for name, scale in SCALES.items()},
        "texts": dict(default_texts()),
        "outputs": damage.OUTPUTS,
        "grades": damage.GRADES,
        "values": dict(damage.VALUES),
        "nose_height": geometry.NOSE_HEIGHT,
        "step": geometry.STEP,
        "face_rows": (light.FACE[0].start, light.FACE[0].stop),
        "face_columns": (light.FACE[1].start, light.FACE[1].stop),
        "least_level": light.LEAST_LEVEL,
    }


if __name__ == "__main__":
    main()

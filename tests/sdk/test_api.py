"""The public API: it changes only on purpose."""

import dataclasses
import inspect
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

import fiqa
import sdk

PARAMETERS = {
    "BestShots": "on_shots, *, count=3, rejected=False, min_sharpness=0.0, doubtful=0.35",
    "BestShots.update": "self, result",
    "BestShots.flush": "self",
    "Calibration": "model, model_sha256='', judge='', judge_sha256='', fmr=None, judge_threshold=None, "
    "people=0, images=0, comparisons=0, errors=0, scores=(), rates=(), thresholds=(), undecided=()",
    "Calibration.check_model": "self, name, sha256",
    "Calibration.from_dict": "values",
    "Calibration.match_rates": "self, scores",
    "Calibration.quality": "self, score",
    "Calibration.threshold": "self, name",
    "Calibration.to_dict": "self",
    "Calibration.write": "self, path",
    "Counters": "captured=0, corrupt=0, skipped=0, dropped=0, delivered=0, stale=0, blank=0, scored=0, faces=0, "
    "reconnects=0, fps_in=0.0, fps_scored=0.0, latency_p50=0.0, latency_p95=0.0, age=None, unscored=0",
    "Face": "box, landmarks, confidence",
    "FaceDetector": "model='fiqa-detector', min_confidence=0.7, *, passes=None",
    "FaceDetector.detect": "self, image",
    "FaceQuality": "box, landmarks, confidence, score, crop, quality=None, accepted=None, measures=None, reasons=None",
    "Frame": "index, timestamp, arrived, image, state",
    "FrameResult": "index, timestamp, arrived, image, state, faces=(), ended=()",
    "InputSpec": "height=112, width=112, colour='BGR', layout='NHWC', dtype='uint8', mean=(0.5, 0.5, 0.5), "
    "std=(0.5, 0.5, 0.5)",
    "Measure": "value, unit, quality",
    "ModelCard": "name, variant='', task='quality', summary='', licence='', attribution='', input=<factory>, "
    "output='quality', score_range=(0.0, 1.0), format='onnx', precision='fp32', "
    "engine=<factory>, proven=True, source='', source_sha256='', training_data='', "
    "training_commit='', paper='', verification=<factory>, calibration=None, notes=''",
    "ModelCard.to_dict": "self",
    "ModelCard.to_json": "self",
    "ModelCard.from_dict": "values",
    "ModelCard.from_json": "text",
    "QualityScorer": "model='fiqa-nano', device='auto', threads=None, *, card=None, detector=None, "
    "precision=None, wait_ms=0, trust=False, calibration=None, accept=None, reasons=False, max_pixels=None, "
    "max_bytes=None",
    "QualityScorer.score": "self, face",
    "QualityScorer.score_batch": "self, faces",
    "QualityScorer.assess": "self, image",
    "QualityScorer.close": "self",
    "QualityScorer.decide": "self, score",
    "QualityScorer.warmup": "self",
    "Reason": "code, text, measure, value, limit",
    "ScoredFace": "path, face=None, score=None, box=None, confidence=None, landmarks=None, error='', thumbnail=b'', "
    "quality=None, accepted=None, measures=None, reasons=None",
    "Shot": "frame, timestamp, face, sharpness, picture",
    "ShotFolder": "folder",
    "ShotFolder.write": "self, found",
    "ShotFolder.close": "self",
    "Source": "*args, **kwargs",
    "Source.frames": "self",
    "Source.close": "self",
    "TrackShots": "track, final, shots, first, last, faces, refused",
    "TrackedFace": "box, landmarks, confidence, track, score=None, crop=None, quality=None, accepted=None, "
    "reasons=None",
    "Tracker": "confidence=0.7, max_age=2.0",
    "Tracker.update": "self, faces, timestamp",
    "Tracker.predict": "self, timestamp",
    "Tracker.take_ended": "self",
    "Tracker.reset": "self",
    "VideoScorer": "source, scorer=None, detector=None, *, best_shots=None, every=1, max_fps=None, min_size=0, "
    "queue=2, live=None, tracker=None",
    "VideoScorer.stop": "self",
    "VideoScorer.close": "self",
    "align": "image, landmarks, *, border='black'",
    "find_reasons": "measures, texts=None",
    "load_image": "source, *, max_pixels=64000000, max_bytes=67108864",
    "measure": "image, face=None",
    "read_calibration": "path",
    "open_source": "source, live=None",
    "score_files": "scorer, paths, *, aligned=False, thumbnails=False",
    "sharpness": "crop",
}
"""Parameters of every public function, class and method, without their types."""

PROPERTIES = {
    "InputSpec": {"shape"},
    "QualityScorer": {
        "calibration",
        "card",
        "device",
        "max_bytes",
        "max_pixels",
        "measurer",
        "precision",
        "threads",
        "threshold",
    },
    "Shot": {"score"},
    "VideoScorer": {"counters", "fps", "live", "name"},
}
ATTRIBUTES = {"Source": {"fps", "live", "name", "reconnects"}}
ERRORS = {
    "FiqaError": Exception,
    "ImageError": ValueError,
    "InputError": ValueError,
    "DeviceError": RuntimeError,
    "ModelError": sdk.FiqaError,
    "OutputError": sdk.FiqaError,
    "ScoreError": sdk.FiqaError,
}
CLASSES = [name for name in PARAMETERS if isinstance(getattr(sdk, name, None), type)]


def parameters(path: str) -> str:
    """Return the parameters of a public callable, without their types."""
    thing = sdk
    for name in path.split("."):
        thing = getattr(thing, name)
    signature = inspect.signature(thing)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))[1:-1]


def test_names() -> None:
    assert set(sdk.__all__) == {name.split(".")[0] for name in PARAMETERS} | set(ERRORS) | {"__version__"}
    assert dir(sdk) == sorted(sdk.__all__)
    assert not hasattr(sdk, "anything_else")


@pytest.mark.parametrize("path", PARAMETERS)
def test_parameters(path: str) -> None:
    assert parameters(path) == PARAMETERS[path]


@pytest.mark.parametrize("name", CLASSES)
def test_members(name: str) -> None:
    """A public class has the methods, properties and fields above, and no others."""
    cls = getattr(sdk, name)
    members = {member: value for member, value in vars(cls).items() if not member.startswith("_")}
    fields = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    found = {member for member, value in members.items() if isinstance(value, property)}
    assert found == PROPERTIES.get(name, set())
    methods = {path.partition(".")[2] for path in PARAMETERS if path.startswith(f"{name}.")}
    assert set(members) - found - fields == methods
    assert set(getattr(cls, "__annotations__", {})) - fields == ATTRIBUTES.get(name, set())


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    assert issubclass(getattr(sdk, name), ERRORS[name])
    assert issubclass(getattr(sdk, name), sdk.FiqaError)


@pytest.mark.parametrize("name", [name for name in sdk.__all__ if name != "__version__"])
def test_everything_public_is_documented(name: str) -> None:
    text = getattr(sdk, name).__doc__ or ""
    assert text
    assert not text.startswith(f"{name}(")  # a dataclass without a docstring shows its parameters


def test_version() -> None:
    assert sdk.__version__ == fiqa.__version__ == version("fiqa")


def test_fiqa_gives_the_same_names() -> None:
    assert fiqa.__all__ == sdk.__all__
    assert dir(fiqa) == dir(sdk)
    assert all(getattr(fiqa, name) is getattr(sdk, name) for name in sdk.__all__ if name != "__version__")
    assert not hasattr(fiqa, "anything_else")
    everything: dict[str, object] = {}
    exec("from fiqa import *", everything)
    assert set(sdk.__all__) <= set(everything)


def test_python_m_fiqa() -> None:
    command = [sys.executable, "-m", "fiqa", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == version("fiqa")


@pytest.mark.parametrize("package", ["sdk", "fiqa"])
def test_import_is_light(package: str) -> None:
    """The package imports no library; its classes import only numpy and OpenCV. Others come when they are used."""
    heavy = {"numpy", "cv2", "torch", "onnx", "onnxruntime", "pooch", "PIL", "typer", "rich", "export", "train"}
    code = f"import sys; heavy = {heavy}; import {package}; print(*heavy & set(sys.modules)); "
    code += f"from {package} import QualityScorer, FaceDetector, VideoScorer, align; "
    code += "print(*sorted(heavy & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "cv2 numpy"]


@pytest.mark.parametrize("package", ["sdk", "fiqa"])
def test_import_is_quick(package: str, tmp_path: Path) -> None:
    """The shortest of some imports counts: a busy machine can only make one longer."""
    code = f"import time; start = time.perf_counter(); import {package}; print(time.perf_counter() - start)"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    until, took = time.monotonic() + 20, 1.0
    while took > 0.15 and time.monotonic() < until:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        took = min(took, float(done.stdout))
    assert took < 0.15

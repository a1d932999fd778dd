"""The public API: it changes only on purpose."""

import inspect
import subprocess
import sys
from importlib.metadata import version

import sdk

PARAMETERS = {
    "QualityScorer": "model='fiqa-nano', device='auto', threads=None, *, card=None, detector=None, "
    "precision=None, wait_ms=0, trust=False, max_pixels=None, max_bytes=None",
    "QualityScorer.score": "self, face",
    "QualityScorer.score_batch": "self, faces",
    "QualityScorer.assess": "self, image",
    "QualityScorer.close": "self",
    "QualityScorer.warmup": "self",
    "FaceDetector": "model='fiqa-detector', min_confidence=0.7, *, passes=None",
    "FaceDetector.detect": "self, image",
    "VideoScorer": "source, scorer=None, detector=None, *, best_shots=None, every=1, max_fps=None, min_size=0, "
    "queue=2, live=None, tracker=None",
    "VideoScorer.stop": "self",
    "VideoScorer.close": "self",
    "align": "image, landmarks",
    "Face": "box, landmarks, confidence",
    "FaceQuality": "box, landmarks, confidence, score, crop",
    "InputSpec": "height=112, width=112, colour='BGR', layout='NHWC', dtype='uint8', mean=(0.5, 0.5, 0.5), "
    "std=(0.5, 0.5, 0.5)",
    "ModelCard": "name, variant='', task='quality', summary='', licence='', attribution='', input=<factory>, "
    "output='quality', score_range=(0.0, 1.0), format='onnx', precision='fp32', "
    "engine=<factory>, proven=True, source='', source_sha256='', training_data='', "
    "training_commit='', paper='', verification=<factory>, notes=''",
    "ModelCard.to_dict": "self",
    "ModelCard.to_json": "self",
    "ModelCard.from_dict": "values",
    "ModelCard.from_json": "text",
}
PROPERTIES = {
    "QualityScorer": ("card", "device", "precision", "threads"),
    "FaceDetector": (),
    "VideoScorer": ("counters", "fps", "live", "name"),
}
ERRORS = {
    "FiqaError": Exception,
    "ImageError": ValueError,
    "InputError": ValueError,
    "DeviceError": RuntimeError,
    "ModelError": sdk.FiqaError,
    "OutputError": sdk.FiqaError,
    "ScoreError": sdk.FiqaError,
}


def parameters(path: str) -> str:
    """Parameters of a public callable without their types."""
    thing = sdk
    for name in path.split("."):
        thing = getattr(thing, name)
    signature = inspect.signature(thing)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))[1:-1]


def test_names() -> None:
    classes = {name.split(".")[0] for name in PARAMETERS}
    assert set(sdk.__all__) == classes | set(ERRORS) | {"__version__"}
    assert dir(sdk) == sorted(sdk.__all__)
    assert not hasattr(sdk, "anything_else")


def test_parameters() -> None:
    assert {path: parameters(path) for path in PARAMETERS} == PARAMETERS


def test_methods() -> None:
    for name, names in PROPERTIES.items():
        public = {f"{name}.{method}" for method in vars(getattr(sdk, name)) if not method.startswith("_")}
        properties = {f"{name}.{prop}" for prop in names}
        assert public == {path for path in PARAMETERS if path.startswith(f"{name}.")} | properties


def test_errors() -> None:
    for name, base in ERRORS.items():
        assert issubclass(getattr(sdk, name), base)
        assert issubclass(getattr(sdk, name), sdk.FiqaError)


def test_version() -> None:
    assert sdk.__version__ == version("fiqa")


def test_import_is_light() -> None:
    """`import sdk` brings nothing but itself, and its classes numpy and OpenCV; the rest comes when it is used."""
    heavy = {"numpy", "cv2", "torch", "onnx", "onnxruntime", "pooch", "PIL", "typer", "rich", "export", "train"}
    code = f"import sys; heavy = {heavy}; import sdk; print(*heavy & set(sys.modules)); "
    code += "from sdk import QualityScorer, FaceDetector, VideoScorer, align; print(*sorted(heavy & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "cv2 numpy"]

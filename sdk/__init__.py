"""The SDK of fiqa: scores how useful a face image is for recognising the person.

from sdk import QualityScorer

with QualityScorer() as scorer:
    for face in scorer.assess("photo.jpg"):
        print(face.box, face.score)
"""

from typing import TYPE_CHECKING

from sdk.public_names import import_when_used

if TYPE_CHECKING:
    from sdk.alignment import align
    from sdk.decision.calibration import Calibration, read_calibration
    from sdk.decision.reasons import find_reasons
    from sdk.detection.face_detector import FaceDetector
    from sdk.errors import DeviceError, FiqaError, ImageError, InputError, ModelError, OutputError, ScoreError
    from sdk.images.decoding import load_image
    from sdk.measuring.measurer import measure
    from sdk.models.card import InputSpec, ModelCard
    from sdk.results import Face, FaceQuality, Measure, Reason
    from sdk.results_io.scored_face import ScoredFace
    from sdk.results_io.scoring import score_files
    from sdk.scorer import QualityScorer
    from sdk.video import (
        BestShots,
        Counters,
        Frame,
        FrameResult,
        Shot,
        ShotFolder,
        Source,
        TrackedFace,
        Tracker,
        TrackShots,
        VideoScorer,
        open_source,
        sharpness,
    )

    __version__: str

__all__ = [
    "BestShots",
    "Calibration",
    "Counters",
    "DeviceError",
    "Face",
    "FaceDetector",
    "FaceQuality",
    "FiqaError",
    "Frame",
    "FrameResult",
    "ImageError",
    "InputError",
    "InputSpec",
    "Measure",
    "ModelCard",
    "ModelError",
    "OutputError",
    "QualityScorer",
    "Reason",
    "ScoreError",
    "ScoredFace",
    "Shot",
    "ShotFolder",
    "Source",
    "TrackShots",
    "TrackedFace",
    "Tracker",
    "VideoScorer",
    "__version__",
    "align",
    "find_reasons",
    "load_image",
    "measure",
    "open_source",
    "read_calibration",
    "score_files",
    "sharpness",
]

_MODULES = {
    "sdk.alignment": ("align",),
    "sdk.decision.calibration": ("Calibration", "read_calibration"),
    "sdk.decision.reasons": ("find_reasons",),
    "sdk.measuring.measurer": ("measure",),
    "sdk.results_io.scored_face": ("ScoredFace",),
    "sdk.results_io.scoring": ("score_files",),
    "sdk.detection.face_detector": ("FaceDetector",),
    "sdk.errors": ("DeviceError", "FiqaError", "ImageError", "InputError", "ModelError", "OutputError", "ScoreError"),
    "sdk.results": ("Face", "FaceQuality", "Measure", "Reason"),
    "sdk.images.decoding": ("load_image",),
    "sdk.models.card": ("InputSpec", "ModelCard"),
    "sdk.scorer": ("QualityScorer",),
    "sdk.video": (
        "BestShots",
        "Counters",
        "Frame",
        "FrameResult",
        "Shot",
        "ShotFolder",
        "Source",
        "TrackShots",
        "TrackedFace",
        "Tracker",
        "VideoScorer",
        "open_source",
        "sharpness",
    ),
}

_import_when_used = import_when_used("sdk", _MODULES)


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, because numpy and OpenCV alone take 0.1 s."""
    if name == "__version__":
        from importlib.metadata import version

        return version("fiqa")
    return _import_when_used(name)


def __dir__() -> list[str]:
    return __all__

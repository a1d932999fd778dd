"""Video: `VideoScorer` finds, follows and scores the faces of a stream; `BestShots` keeps the best of each person.

from sdk.video import BestShots, VideoScorer

with VideoScorer(0, best_shots=BestShots(print)) as video:
    for frame in video:
        print(frame.index, [(face.track, face.score) for face in frame.faces])
"""

from sdk.video.best_shot import BestShots, Shot, TrackShots, sharpness
from sdk.video.frames import Frame, FrameResult, TrackedFace
from sdk.video.meter import Counters
from sdk.video.reading.source import Source
from sdk.video.reading.sources import open_source
from sdk.video.tracking import Tracker
from sdk.video.video_scorer import VideoScorer
from sdk.video.writing.shot_folder import ShotFolder

__all__ = [
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
]

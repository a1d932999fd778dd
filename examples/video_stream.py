"""Score the faces of a live stream: `python examples/video_stream.py [SOURCE]`.

SOURCE is the index of a camera, a video file, a folder of frames, an rtsp:// or http:// URL, or a GStreamer pipeline.
Without one: a synthetic clip, offline. Copy this file and change the line marked HERE.
"""

import sys

from media.make_clip import clip_frames

from fiqa import BestShots, FiqaError, QualityScorer, TrackShots, VideoScorer


def tell(found: TrackShots) -> None:
    """Print that a person was seen well enough, or has gone."""
    scores = ", ".join(f"{shot.score:.3f} in frame {shot.frame}" for shot in found.shots) or "no good face"
    print(f"track {found.track} {'has ended' if found.final else 'can be recognised'}: {scores}")


def main() -> int:
    """Run until the end of the stream or Ctrl-C; returns the exit code."""
    source = sys.argv[1] if len(sys.argv) > 1 else clip_frames()
    shots = BestShots(tell, count=2)
    try:
        with (
            QualityScorer(accept=0.7) as scorer,
            VideoScorer(source, scorer, best_shots=shots, every=2, min_size=40) as video,
        ):
            for frame in video:
                for face in frame.faces:
                    if face.score is not None and frame.index % 20 == 0:  # HERE: what you do with a face
                        x, y = map(round, face.box[:2])
                        print(f"{frame.timestamp:6.2f} s  track {face.track}  score {face.score:.3f}  at {x}, {y}")
    except KeyboardInterrupt:
        print("interrupted")
    except FiqaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    counters = video.counters
    print(
        f"{counters.captured} frames, {counters.scored} looked at, {counters.faces} faces, {counters.dropped} dropped"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Keep the best pictures of each person in a video: `python examples/best_shot.py [SOURCE [FOLDER]]`.

Without a source the synthetic clip, offline. Writes pictures, aligned crops and `shots.jsonl`, a line a person.
"""

import sys
from pathlib import Path

from media.make_clip import clip_frames

from sdk import FiqaError, VideoScorer
from sdk.video import BestShots, TrackShots
from sdk.video.outputs import ShotFolder


def main() -> int:
    """Run; returns the exit code."""
    source = sys.argv[1] if len(sys.argv) > 1 else clip_frames()
    path = Path(sys.argv[2] if len(sys.argv) > 2 else "best-shots")
    try:
        folder = ShotFolder(path)

        def keep(word: TrackShots) -> None:
            if word.shots:  # refused are faces that were too small, too blurred, or too low in score
                folder.write(word)
            best = f"{word.shots[0].score:.3f}" if word.shots else "none"
            print(f"track {word.track}: {word.faces} faces, best {best}, refused {dict(word.refused)}")

        shots = BestShots(keep, count=3, floor=0.3, min_sharpness=50)
        with VideoScorer(source, best_shots=shots, min_size=60) as video:
            for _ in video:
                pass
    except FiqaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"pictures: {path.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

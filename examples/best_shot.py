"""Keep the best pictures of each person in a video: `python examples/best_shot.py [SOURCE [FOLDER]]`.

Without a source the synthetic clip, offline. Writes pictures, aligned crops and `shots.jsonl`, one line per person.
"""

import sys
from pathlib import Path

from media.make_clip import clip_frames

from fiqa import BestShots, FiqaError, ShotFolder, TrackShots, VideoScorer


def main() -> int:
    """Run; returns the exit code."""
    source = sys.argv[1] if len(sys.argv) > 1 else clip_frames()
    path = Path(sys.argv[2] if len(sys.argv) > 2 else "best-shots")
    try:
        with ShotFolder(path) as folder:

            def keep(found: TrackShots) -> None:
                if found.shots:  # faces that are too small, too blurred or too low in score are refused
                    folder.write(found)
                best = f"{found.shots[0].score:.3f}" if found.shots else "none"
                faces = "1 face" if found.faces == 1 else f"{found.faces} faces"
                print(f"track {found.track}: {faces}, best {best}, refused {dict(found.refused)}")

            shots = BestShots(keep, count=3, min_sharpness=50)
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

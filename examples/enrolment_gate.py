"""Accept a photo for enrolment, or say why another one is needed: `python examples/enrolment_gate.py PHOTO`.

Exit code 0: accepted; 3: another photo is needed. Choose the score on your own photos: `fiqa calibrate`.
"""

import sys

from fiqa import FiqaError, QualityScorer

MIN_SCORE = 0.5


def main() -> int:
    """Judge one photo; return the exit code."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} PHOTO")
    try:
        with QualityScorer(accept=MIN_SCORE, reasons=True) as scorer:
            faces = scorer.assess(sys.argv[1])
    except FiqaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if len(faces) != 1:
        print(f"again, please: {len(faces)} faces, wanted one; be alone in the picture")
        return 3
    for reason in faces[0].reasons or ():
        print(f"again, please: {reason.text} ({reason.code}: {reason.value:.0f}, limit {reason.limit:g})")
    if faces[0].reasons or not faces[0].accepted:
        print(f"refused: score {faces[0].score:.3f}, wanted {MIN_SCORE}")
        return 3
    print(f"accepted: score {faces[0].score:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Accept a photo for enrolment, or say why another one is needed: `python examples/enrolment_gate.py PHOTO`.

Exit code 0: accepted; 3: another photo is needed. `enrol` is the strict point of the calibration that fiqa-nano brings
along; make one on your own photos by `fiqa calibrate`.
"""

import sys

from fiqa import FiqaError, QualityScorer


def main() -> int:
    """Judge one photo; return the exit code."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} PHOTO")
    try:
        with QualityScorer(accept="enrol", reasons=True) as scorer:
            faces = scorer.assess(sys.argv[1])
    except FiqaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if len(faces) != 1:
        print(f"again, please: {len(faces)} faces, wanted one; be alone in the picture")
        return 3
    face = faces[0]
    for reason in face.reasons or ():
        print(f"again, please: {reason.text} ({reason.code}: {reason.value:.1f}, limit {reason.limit:g})")
    good = face.accepted and not face.reasons
    print(f"{'accepted' if good else 'refused'}: quality {face.quality}, score {face.score:.3f}")
    return 0 if good else 3


if __name__ == "__main__":
    sys.exit(main())

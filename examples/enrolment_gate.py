"""Accept a photo for enrolment, or say why another one is needed: `python examples/enrolment_gate.py PHOTO`.

Exit code 0: accepted; 3: another photo is needed. The limits suit a camera at a desk; choose yours on your photos.
"""

import sys

import cv2
import numpy as np

from fiqa import FaceQuality, FiqaError, QualityScorer, sharpness

MIN_SIDE = 80  # pixels of the face's box
MIN_SHARPNESS = 60
MIN_BRIGHTNESS = 50  # mean grey of the face, 0 to 255
MAX_TURN = 0.35  # distance of the nose from the middle of the eyes, in distances between the eyes
MIN_SCORE = 0.5


def reasons(face: FaceQuality) -> list[str]:
    """Return why a face is not good enough; an empty list if it is."""
    left, right, nose = face.landmarks[:3]
    across = right - left
    turn = abs(float(np.dot(nose - (left + right) / 2, across) / max(float(np.dot(across, across)), 1e-6)))
    brightness = float(cv2.cvtColor(face.crop, cv2.COLOR_BGR2GRAY)[16:96, 24:88].mean())
    sharp, side = sharpness(face.crop), min(face.box[2:])
    found = []
    if side < MIN_SIDE:
        found.append(f"too small: {side:.0f} pixels, wanted {MIN_SIDE}; come nearer")
    if brightness < MIN_BRIGHTNESS:
        found.append(f"too dark: brightness {brightness:.0f}, wanted {MIN_BRIGHTNESS}; turn to the light")
    elif sharp < MIN_SHARPNESS:  # not for a dark face, which always looks blurred
        found.append(f"too blurred: sharpness {sharp:.0f}, wanted {MIN_SHARPNESS}; hold still, clean the lens")
    if turn > MAX_TURN:
        found.append(f"turned away: {turn:.2f}, wanted at most {MAX_TURN}; look into the camera")
    if face.score < MIN_SCORE:
        found.append(f"low score: {face.score:.2f}, wanted {MIN_SCORE}; take off what hides the face")
    return found


def main() -> int:
    """Judge one photo; return the exit code."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} PHOTO")
    try:
        with QualityScorer() as scorer:
            faces = scorer.assess(sys.argv[1])
    except FiqaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found = reasons(faces[0]) if len(faces) == 1 else [f"{len(faces)} faces, wanted one; be alone in the picture"]
    for reason in found:
        print(f"again, please: {reason}")
    if not found:
        print(f"accepted: score {faces[0].score:.3f}")
    return 3 if found else 0


if __name__ == "__main__":
    sys.exit(main())

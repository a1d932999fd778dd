"""Follow faces from frame to frame: match them with tracks by overlap, and predict with a constant-velocity filter.

After ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022): faces
of high confidence are matched first; those of low confidence may then continue a track, but never begin one. It is
written here because no library fits a base install (docs/video.md names them). Time is in seconds, not in frames, so
dropped frames do no harm.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sdk.detection.boxes import intersection_over_union
from sdk.errors import InputError
from sdk.results import Face

FIRST_OVERLAP, SECOND_OVERLAP = 0.2, 0.5
"""Least intersection over union of a track's predicted box and a face of high, and of low confidence."""

RETURN_OVERLAP = 0.4
"""Least intersection over union of a face of high confidence and the place where a track was seen last."""

COAST = 1.0
"""Seconds for which the prediction of an unseen track is followed. After that it can only return to its last place."""

MAX_TRACKS = 256
"""Most tracks. Beyond, those end that were not seen for longest, so memory stays bounded."""

JITTER = 0.05
"""Standard deviation of a detector's box, in widths of the box."""

ACCELERATION = 4.0
"""Standard deviation of a face's acceleration, in widths of its box per second squared: a head that nods."""


class Tracking(Protocol):
    """Interface of a tracker; `Tracker` is one."""

    def update(self, faces: Sequence[Face], timestamp: float) -> list[tuple[int, Face]]:
        """Take the faces of a frame, and return those of a track with the number of the track."""
        ...

    def predict(self, timestamp: float) -> list[tuple[int, Face]]:
        """Predict where the faces of the last frame are now."""
        ...

    def take_ended(self) -> tuple[int, ...]:
        """Return the tracks that ended since the last call."""
        ...

    def reset(self) -> None:
        """End all tracks."""
        ...


class Tracker:
    """Follow faces by their boxes.

    Args:
        confidence: Least confidence of a face that begins a track.
        max_age: Seconds after which a track ends that is not seen.

    Raises:
        InputError: A value is out of its range.
    """

    def __init__(self, confidence: float = 0.7, max_age: float = 2.0) -> None:
        if not 0 <= confidence <= 1:
            raise InputError(f"confidence is {confidence}, wanted a number in [0, 1]")
        if not max_age > 0:
            raise InputError(f"max_age is {max_age}, wanted more than 0 seconds")
        self._confidence = confidence
        self._max_age = max_age
        self._tracks: list[_Track] = []
        self._ended: list[int] = []
        self._made = 0

    def update(self, faces: Sequence[Face], timestamp: float) -> list[tuple[int, Face]]:
        """Take the faces of a frame.

        Args:
            faces: What the detector found, of low confidence, too.
            timestamp: Seconds; never less than in the call before.

        Returns:
            Pairs of a track's number and its face, in the order given. Faces of low confidence that continue no track,
            and faces without area, are left out.
        """
        faces = [face for face in faces if min(face.box[2:]) > 0]
        self._expire(timestamp)
        certain = [index for index, face in enumerate(faces) if face.confidence >= self._confidence]
        uncertain = [index for index, face in enumerate(faces) if face.confidence < self._confidence]
        recent = [track for track in self._tracks if timestamp - track.seen <= COAST]
        owner: dict[int, _Track] = {}
        # Third, a prediction drifts while a face is hidden, and a face that stood there is often still there.
        for tracks, candidates, least, predicted in (
            (recent, certain, FIRST_OVERLAP, True),
            (recent, uncertain, SECOND_OVERLAP, True),
            (self._tracks, certain, RETURN_OVERLAP, False),
        ):
            free = [track for track in tracks if track not in owner.values()]
            wanted = [index for index in candidates if index not in owner]
            boxes = [track.box_at(timestamp if predicted else track.seen) for track in free]
            pairs = _match(boxes, [faces[index].box for index in wanted], least)
            owner |= {wanted[column]: free[row] for row, column in pairs}
        for index in certain:
            if index not in owner:
                self._made += 1
                owner[index] = _Track(self._made, faces[index], timestamp)
                self._tracks.append(owner[index])
        for index, track in owner.items():
            track.correct(faces[index], timestamp)
        if len(self._tracks) > MAX_TRACKS:
            self._end(sorted(self._tracks, key=lambda track: track.seen)[: len(self._tracks) - MAX_TRACKS])
        return [(owner[index].number, faces[index]) for index in sorted(owner)]

    def predict(self, timestamp: float) -> list[tuple[int, Face]]:
        """Predict where the faces of the last frame are now, for a second; landmarks move with their box.

        Args:
            timestamp: Seconds; never less than in the call before.
        """
        self._expire(timestamp)
        last = max((track.seen for track in self._tracks), default=0)
        if timestamp - last > COAST:
            return []
        return [(track.number, track.face_at(timestamp)) for track in self._tracks if track.seen == last]

    def take_ended(self) -> tuple[int, ...]:
        """Return the tracks that ended since the last call."""
        ended, self._ended = tuple(self._ended), []
        return ended

    def reset(self) -> None:
        """End all tracks; later ones have new numbers."""
        self._end(self._tracks)

    def _expire(self, timestamp: float) -> None:
        self._end(track for track in self._tracks if timestamp - track.seen > self._max_age)

    def _end(self, tracks: Iterable["_Track"]) -> None:
        gone = {track.number for track in tracks}
        self._ended += sorted(gone)
        self._tracks = [track for track in self._tracks if track.number not in gone]


class _Track:
    """One face over time: a Kalman filter of constant velocity.

    Centre and size are filtered alike and apart, with noises in widths of the box, so that one 2 x 2 covariance of
    position and velocity serves all four.
    """

    def __init__(self, number: int, face: Face, timestamp: float) -> None:
        self.number = number
        self.seen = timestamp
        self._face = face
        self._state = np.stack([_centred(face), np.zeros(4)])
        self._covariance = np.diag([JITTER**2, 1.0])  # at first it may move at a width of itself per second

    def correct(self, face: Face, timestamp: float) -> None:
        """Take in where the face was found."""
        step = timestamp - self.seen
        move = np.array([[1.0, step], [0.0, 1.0]])
        drift = ACCELERATION**2 * np.array([[step**4 / 4, step**3 / 2], [step**3 / 2, step**2]])
        state, covariance = move @ self._state, move @ self._covariance @ move.T + drift
        gain = covariance[:, :1] / (covariance[0, 0] + JITTER**2)
        self._state = state + gain * (_centred(face) - state[0])
        self._covariance = covariance - gain @ covariance[:1]
        self._face, self.seen = face, timestamp

    def box_at(self, timestamp: float) -> tuple[float, float, float, float]:
        """Return the predicted box."""
        x, y, width, height = self._state[0] + (timestamp - self.seen) * self._state[1] * (1, 1, 0, 0)
        return x - width / 2, y - height / 2, width, height

    def face_at(self, timestamp: float) -> Face:
        """Return the face as it was seen last, moved to the predicted box."""
        box = np.array(self.box_at(timestamp))
        corner, size = np.split(np.array(self._face.box), 2)
        points = (self._face.landmarks - corner) / size * box[2:] + box[:2]
        x, y, width, height = map(float, box)
        return Face((x, y, width, height), points.astype(np.float32), self._face.confidence)


def _centred(face: Face) -> NDArray[np.float64]:
    x, y, width, height = face.box
    return np.array([x + width / 2, y + height / 2, width, height])


def _match(
    rows: Sequence[tuple[float, float, float, float]],
    columns: Sequence[tuple[float, float, float, float]],
    least: float,
) -> list[tuple[int, int]]:
    """Pair boxes, the greatest overlap first. An optimal assignment gains nothing: faces hardly overlap one another."""
    overlap = intersection_over_union(*(np.array(boxes, np.float64).reshape(-1, 4) for boxes in (rows, columns)))
    pairs: list[tuple[int, int]] = []
    while overlap.size and overlap.max() >= least:
        row, column = divmod(int(overlap.argmax()), overlap.shape[1])
        pairs.append((row, column))
        overlap[row], overlap[:, column] = 0, 0
    return pairs

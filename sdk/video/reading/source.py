"""Interface of a source of frames."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

Captured: TypeAlias = tuple[float | None, NDArray[Any] | None]
"""Seconds since the start of the source, None where the time of arrival counts; and the frame, None if corrupt."""


class Source(Protocol):
    """Interface of a source of frames. A class of your own may be one.

    Attributes:
        name: Name for messages, without secrets.
        live: Whether frames are dropped when they come faster than they are scored.
        fps: Frames per second, as far as is known.
        reconnects: How often it was opened again.
    """

    name: str
    live: bool
    fps: float
    reconnects: int

    def frames(self) -> Iterator[Captured]:
        """Yield all frames, until the end or until `close`."""
        ...

    def close(self) -> None:
        """Make `frames` end soon. Another thread calls it."""
        ...

"""A bounded queue between two threads of the pipeline."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

WAKE = 0.5
"""Seconds after which a waiting thread wakes up, so that Ctrl-C reaches it on Windows, too."""


class Channel(Generic[Item]):
    """Pass items from the thread that puts to the thread that takes, first in, first out.

    Args:
        size: Most items that wait.
        drop_oldest: A full channel drops its oldest item; otherwise the thread that puts waits.
    """

    def __init__(self, size: int, drop_oldest: bool = False) -> None:
        self._items: deque[Item] = deque()
        self._size = size
        self._drop_oldest = drop_oldest
        self._changed = threading.Condition()
        self._finished = False
        self._closed = False
        self._error: BaseException | None = None

    @property
    def closed(self) -> bool:
        """True when it takes nothing more."""
        return self._closed

    def put(self, item: Item) -> Item | None:
        """Add an item; waits for room unless the oldest is dropped.

        Returns:
            The item that is dropped: the oldest of a full channel, or the new one if the channel is closed.
        """
        with self._changed:
            while len(self._items) >= self._size and not self._closed and not self._drop_oldest:
                self._changed.wait(WAKE)
            if self._closed:
                return item
            dropped = self._items.popleft() if len(self._items) >= self._size else None
            self._items.append(item)
            self._changed.notify_all()
            return dropped

    def finish(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes. An error is raised in the thread that takes, after the last item."""
        with self._changed:
            self._finished, self._error = True, error
            self._changed.notify_all()

    def close(self) -> list[Item]:
        """Take nothing more, and wake the threads that wait. Returns the items that were waiting."""
        with self._changed:
            self._closed = True
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return left

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        with self._changed:
            while not self._items and not self._finished and not self._closed:
                self._changed.wait(WAKE)
            if self._items:
                self._changed.notify_all()
                return self._items.popleft()
            if self._error is not None and not self._closed:
                raise self._error
            raise StopIteration

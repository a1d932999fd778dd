"""The queue between two threads."""

import threading
import time

import pytest

from sdk.video.channel import Channel


def test_first_in_first_out() -> None:
    channel: Channel[int] = Channel(3)
    assert [channel.put(number) for number in range(3)] == [None] * 3
    channel.finish()
    assert list(channel) == [0, 1, 2]


def test_drops_the_oldest() -> None:
    channel: Channel[int] = Channel(2, drop_oldest=True)
    assert [channel.put(number) for number in range(5)] == [None, None, 0, 1, 2]
    channel.finish()
    assert list(channel) == [3, 4]


def test_waits_for_room() -> None:
    channel: Channel[int] = Channel(1)
    producer = threading.Thread(target=lambda: [channel.put(number) for number in range(5)])
    producer.start()
    time.sleep(0.05)
    assert producer.is_alive()
    assert [next(channel) for _ in range(5)] == [0, 1, 2, 3, 4]
    producer.join(5)
    assert not producer.is_alive()


def test_an_error_comes_after_the_last_item() -> None:
    channel: Channel[int] = Channel(2)
    channel.put(1)
    channel.finish(ValueError("broken"))
    assert next(channel) == 1
    with pytest.raises(ValueError, match="broken"):
        next(channel)


def test_close_gives_back_what_waits_and_wakes_the_producer() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(1)
    refused: list[int | None] = []
    producer = threading.Thread(target=lambda: refused.append(channel.put(2)))
    producer.start()
    time.sleep(0.05)
    assert channel.close() == [1]
    producer.join(5)
    assert refused == [2]
    assert channel.put(3) == 3
    assert list(channel) == []

"""Files that are written beside the training."""

import threading
from collections import OrderedDict

import pytest
import torch

from sdk.errors import OutputError
from train.device.background import WAITING, BackgroundWriter, snapshot


def test_a_snapshot_does_not_change_with_what_it_is_of() -> None:
    weight, losses = torch.zeros(2), [1.0]
    state = OrderedDict(model={"w": weight}, groups=[{"params": (weight, 3)}], losses=losses, none=None)
    kept = snapshot(state)
    weight += 1
    losses.append(2.0)
    assert kept == {
        "model": {"w": kept["model"]["w"]}, "groups": [{"params": (kept["groups"][0]["params"][0], 3)}],
        "losses": [1.0], "none": None,
    }  # fmt: skip
    assert kept["model"]["w"].tolist() == kept["groups"][0]["params"][0].tolist() == [0, 0]


def test_files_are_written_elsewhere_in_their_order_and_all_at_the_end() -> None:
    done: list[tuple[int, bool]] = []
    caller, gate = threading.get_ident(), threading.Event()

    def write(number: int) -> None:
        gate.wait()
        done.append((number, threading.get_ident() != caller))

    with BackgroundWriter() as writer:
        for number in range(WAITING):
            writer.write(lambda number=number: write(number))
        assert done == []  # the caller goes on
        gate.set()
        writer.write(lambda: write(WAITING))
    assert done == [(number, True) for number in range(WAITING + 1)]


def test_after_an_error_nothing_is_written_and_the_caller_gets_it() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OutputError("disk full")

    def write_until_it_is_noticed(writer: BackgroundWriter) -> None:
        writer.write(fail)
        for number in range(WAITING + 2):  # the last one waits until the first one has failed
            writer.write(lambda number=number: done.append(number))

    writer = BackgroundWriter()
    with pytest.raises(OutputError, match="disk full"), writer:
        write_until_it_is_noticed(writer)
    assert done == []
    with pytest.raises(OutputError, match="disk full"):
        writer.check()


def test_an_error_of_the_last_file_is_raised_at_the_end() -> None:
    def fail() -> None:
        raise OutputError("disk full")

    writer = BackgroundWriter()
    with pytest.raises(OutputError, match="disk full"), writer:
        writer.write(fail)


def test_an_error_of_the_caller_comes_first_and_files_before_it_are_written(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    def fail() -> None:
        raise OutputError("disk full")

    def stop(writer: BackgroundWriter) -> None:
        writer.write(lambda: done.append(1))
        writer.write(fail)
        raise KeyboardInterrupt

    writer = BackgroundWriter()
    with pytest.raises(KeyboardInterrupt), writer:
        stop(writer)
    assert done == [1]
    assert "disk full" in caplog.text

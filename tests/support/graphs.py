"""A stand-in for CUDA graphs of training passes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from train.device import passes
from train.device.passes import Losses


class Graphs:
    """Stands for CUDA graphs of passes: capturing computes nothing, and a replay writes where those would have.

    Args:
        network: That is trained.
        monkeypatch: Puts it in place.

    Attributes:
        made: How many.
        replays: Of all of them.
        wrong: Added to what a replay writes: gradients and losses.
        fails: Capturing is an error.
    """

    def __init__(self, network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
        self.network = network
        monkeypatch.setattr(passes, "captured", self.captured)
        monkeypatch.setattr(passes, "_memory_for_both", lambda device: True)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
        self.made = self.replays = 0
        self.wrong = 0.0
        self.fails = False

    def captured(self, work: Callable[[], Losses], device: torch.device) -> tuple[Any, Losses]:
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.made += 1
        self.work = work
        before = [buffer.clone() for buffer in self.network.buffers()]
        self.losses = work()
        self.gradients = [(parameter, parameter.grad) for parameter in self.network.parameters()]
        for buffer, value in zip(self.network.buffers(), before, strict=True):
            buffer.copy_(value)
        for tensor in [*self.losses.values(), *(gradient for _, gradient in self.gradients if gradient is not None)]:
            tensor.fill_(torch.nan)
        return self, self.losses

    def replay(self) -> None:
        self.replays += 1
        for parameter in self.network.parameters():
            parameter.grad = None
        for name, value in self.work().items():
            self.losses[name].copy_(value + self.wrong)
        for parameter, gradient in self.gradients:
            if gradient is not None:
                gradient.copy_(parameter.grad + self.wrong)

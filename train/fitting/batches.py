"""Batches of a training, epoch after epoch, from any one on."""

import math
import os
from collections.abc import Generator
from typing import Any

import cv2
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from train.data.dataset import EpochBatches
from train.fitting.settings import WORKERS, TrainerSettings
from train.fitting.task import Batch


class TrainingBatches:
    """The batches of this process, epoch after epoch.

    Attributes:
        an_epoch: How many an epoch has.
    """

    def __init__(self, data: Dataset[dict[str, Any]], settings: TrainerSettings, accelerator: Accelerator) -> None:
        self._processes = accelerator.num_processes
        count = len(data)  # type: ignore[arg-type]
        self._order = EpochBatches(count, settings.batch_size, True, settings.seed, self._processes)
        self.an_epoch = math.ceil(len(self._order) / self._processes)
        loader = DataLoader(data, batch_sampler=self._order, **loading(settings, accelerator.device))
        self._loader = accelerator.prepare_data_loader(loader)

    def after(self, done: int) -> Generator[Batch, None, None]:
        """Give batches without end, from the one after the first `done` of the training."""
        epoch, start = divmod(done, self.an_epoch)
        while True:
            self._order.epoch, self._order.start = epoch, start * self._processes
            yield from self._loader
            epoch, start = epoch + 1, 0


def loading(settings: TrainerSettings, device: torch.device) -> dict[str, Any]:
    """Return how a loader works for a device, as options of `DataLoader`.

    From here on OpenCV has one thread. A forked process would wait for ever for the threads of its parent, and on faces
    several threads are slower than one.
    """
    cv2.setNumThreads(1)
    on_gpu = device.type == "cuda"
    workers = settings.workers
    if workers is None:
        workers = min(WORKERS, os.cpu_count() or 1) if on_gpu else 0
    return {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": on_gpu}

"""The training loop: the same for every task.

Tasks differ in network, data, loss and results. The loop has many devices, mixed precision, gradient accumulation and
clipping, averaged weights, TensorBoard's logs, checkpoints, exact resume, and one run a folder at a time.
"""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from sdk.commands.console import progress_bar
from sdk.errors import InputError
from sdk.files import make_folder, open_file
from sdk.text import shortened
from train.device.background import snapshot
from train.fitting.batches import TrainingBatches
from train.fitting.learner import Learner, make_accelerator, start_trackers
from train.fitting.rounding import fix_rounding
from train.fitting.settings import TrainerSettings
from train.fitting.task import Task, Terms
from train.lock import locked
from train.networks.checkpoints import replace_checkpoint
from train.run_state import RunRecord

logger = logging.getLogger(__name__)

STATE = "state.pt"
"""File that a run goes on from."""

LOG_EVERY, LOGS = 20, 50
"""Steps between the trackers' values of the loss; fewer where a run would have fewer than `LOGS` of them."""


class Results(Protocol):
    """What is written and remembered beside the weights in training."""

    def after_step(self, step: int, learner: Learner, terms: Terms) -> bool:
        """Write what is due after a step, in every process.

        Args:
            step: Its number, from 1.
            learner: The network.
            terms: Of the loss in this step and process.

        Returns:
            Whether a checkpoint is due.
        """

    def state(self) -> dict[str, Any]:
        """Return what a run needs to go on, as plain values."""

    def load(self, state: dict[str, Any]) -> None:
        """Take over the `state` that a checkpoint holds."""


class Trainer:
    """A training run; one that was interrupted goes on where it stopped.

    Args:
        task: What is trained.
        results: What is kept of it.
        settings: See `TrainerSettings`.
        out: Folder for `state.pt`, TensorBoard's logs and the results.
        record: What decides the weights.

    Raises:
        InputError: The precision needs another device.
    """

    def __init__(self, task: Task, results: Results, settings: TrainerSettings, out: Path, record: RunRecord) -> None:
        make_folder(out)
        fix_rounding()
        accelerator = make_accelerator(settings.precision, out, task.loss_scale, settings.trackers)
        self._batches = TrainingBatches(task.train_set, settings, accelerator)
        self._learner = Learner(task, settings.ema, self._batches.an_epoch, accelerator, bool(settings.compile))
        self._results, self._out, self._record = results, out, record
        self._step = 0

    def run(self) -> None:
        """Train.

        Raises:
            InputError: `state.pt` in the folder is of a run with another record, or another run is writing there.
            OutputError: The disk is full; started again, the run goes on.
        """
        with locked(self._out if self._learner.accelerator.is_main_process else None):
            self._resume()
            start_trackers(self._learner.accelerator, self._out)
            self._train()
            self._learner.accelerator.end_training()

    def _train(self) -> None:
        how, writer = self._learner.optimisation, self._learner.writer
        batches = self._batches.after(self._step * how.passes)
        log_every = max(1, min(LOG_EVERY, how.steps // LOGS))
        with writer, closing(batches), progress_bar("training", how.steps - self._step) as advance:
            while self._step < how.steps:
                terms = self._learner.step(batches, self._step)
                self._step += 1
                if self._step % log_every == 0:
                    self._log(terms)
                if self._results.after_step(self._step, self._learner, terms):
                    self._save()
                writer.check()
                advance(1)

    def _log(self, terms: Terms) -> None:
        means = {f"train/{name}": self._learner.mean(value) for name, value in terms.items()}
        self._learner.accelerator.log(means, self._step)

    def _save(self) -> None:
        if self._learner.accelerator.is_main_process:
            kept = {"step": self._step, "settings": self._record.as_dict()}
            state = snapshot(kept | self._learner.state() | self._results.state())
            write = partial(replace_checkpoint, self._out / STATE, partial(torch.save, state))
            self._learner.writer.write(write)

    def _resume(self) -> None:
        path = self._out / STATE
        if not path.exists():
            return
        with _reading(path) as state:
            self._record.check(state["settings"], path, "give another --out to train anew")
            self._learner.load(state)
            self._results.load(state)
            self._step = int(state["step"])
        logger.info("resumed at step %d", self._step)


@contextmanager
def _reading(path: Path) -> Iterator[dict[str, Any]]:
    """Read a checkpoint; errors of the block that takes it over are errors of the file.

    Raises:
        InputError: The file is damaged, of an earlier version, or does not fit.
    """
    anew = "delete it to start anew"
    with open_file(path, InputError, anew):
        pass
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        raise InputError(f"{path} is damaged ({shortened(error) or type(error).__name__}); {anew}") from error
    try:
        if "network" in state and "model" not in state:
            raise InputError(f"{path} was written by an earlier version of fiqa; end the run with that one, or {anew}")
        yield state
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({type(error).__name__}: {shortened(error)}); {anew}") from error

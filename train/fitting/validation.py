"""Validation in training: the last weights, the best ones, and the history of the loss."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Dataset

from sdk.errors import InputError
from sdk.files import write_file
from train.data.dataset import EpochBatches
from train.fitting.batches import loading
from train.fitting.learner import Learner
from train.fitting.settings import FitSettings, validation_due
from train.fitting.task import Terms

logger = logging.getLogger(__name__)


class Validation:
    """Results of a network that is validated: `best.safetensors`, `last.safetensors` and `history.json`.

    Args:
        data: Items to validate on, by (epoch, index).
        settings: How often, see `FitSettings`.
        out: Folder.
    """

    def __init__(self, data: Dataset[dict[str, Any]], settings: FitSettings, out: Path) -> None:
        self._data, self._settings, self._out = data, settings, out
        self._history: list[dict[str, float]] = []

    def after_step(self, step: int, learner: Learner, terms: Terms) -> bool:
        """Validate where that is due, see `Results`.

        Raises:
            InputError: The loss is no finite number.
        """
        steps = learner.optimisation.steps
        due = validation_due(self._settings, step, steps)
        if due:
            means = self._mean_terms(learner)
            if not math.isfinite(means["total"]):
                raise InputError(f"the validation loss is {means['total']} at step {step}; lower the learning rates")
            self._history.append({"epoch": step / (steps // self._settings.epochs), "step": float(step), **means})
            self._tell(learner, means)
            self._keep(learner)
        return due or step % self._settings.save_every == 0

    def state(self) -> dict[str, Any]:
        """See `Results`."""
        return {"history": self._history}

    def load(self, state: dict[str, Any]) -> None:
        """See `Results`."""
        self._history = [{name: float(value) for name, value in past.items()} for past in state["history"]]

    @torch.no_grad()
    def _mean_terms(self, learner: Learner) -> dict[str, float]:
        """Means of the loss terms over all images, in all processes."""
        network = learner.network if self._settings.schedule == "swa" else learner.kept
        network.eval()
        parts = []
        for batch in self._batches(learner):
            size = len(batch["image"])
            terms = learner.validate(network, batch)
            parts.append(({name: value.item() * size for name, value in terms.items()}, size))
        parts = gather_object(parts)
        count = sum(size for _, size in parts)
        return {name: sum(terms[name] for terms, _ in parts) / count for name in parts[0][0]}

    def _batches(self, learner: Learner) -> DataLoader[dict[str, Any]]:
        """This process's share of the batches; filled up to equal shares, some images would count twice."""
        count = len(self._data)  # type: ignore[arg-type]
        batches = list(EpochBatches(count, self._settings.batch_size, False))
        share = batches[learner.accelerator.process_index :: learner.accelerator.num_processes]
        options = {**loading(self._settings, learner.accelerator.device), "persistent_workers": False}
        return DataLoader(self._data, batch_sampler=share, **options)

    def _tell(self, learner: Learner, means: dict[str, float]) -> None:
        described = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        logger.info("epoch %.4g: %s", self._history[-1]["epoch"], described)
        step = int(self._history[-1]["step"])
        learner.accelerator.log({f"validation/{name}": value for name, value in means.items()}, step)

    def _keep(self, learner: Learner) -> None:
        if not learner.accelerator.is_main_process:
            return
        best = self._history[-1]["total"] <= min(past["total"] for past in self._history)
        learner.write_kept(*(self._out / f"{name}.safetensors" for name in ("last", *(["best"] if best else []))))
        write_file(self._out / "history.json", json.dumps(self._history, indent=1, allow_nan=False))

"""Training: the real loops of `fit diffiqa` and `fit ediffiqa`, and the same batch again and again."""

import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_parts.setup import Setup
from tests.support.weights import tame_network
from train.data.manifest import read_manifest, write_table
from train.fitting import learner as learner_module
from train.fitting.fit_regressor import fit_regressor
from train.fitting.learner import Learner
from train.fitting.regressor import FitFiles, RegressorRecipe
from train.methods.fit_diffiqa import DiffusionSettings, diffusion_settings, fit_diffiqa
from train.networks import save_network
from train.recipes import read_recipe


class Steps:
    """Times the steps of a training, and at one of them the same batch again and again.

    Args:
        setup: Of the run.
        alone_at: That step.
        alone: How often.
        graphs: Let the passes become a CUDA graph, as the command does.

    Attributes:
        ends: When each step had been queued on the device.
        alone: Seconds of a step on a batch that is there already.
        graph: Whether the passes became a CUDA graph.
    """

    def __init__(self, setup: Setup, alone_at: int, alone: int, graphs: bool = True) -> None:
        self._setup, self._alone_at, self._times, self._graphs = setup, alone_at, alone, graphs
        self.ends: list[float] = []
        self.alone: float | None = None
        self.graph = False

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time the steps of all learners inside."""
        from accelerate.state import AcceleratorState

        original, steps = Learner.step, self

        def step(learner: Learner, batches: Any, done: int) -> Any:
            terms = original(learner, batches, done)
            if done == steps._alone_at:
                batch = next(batches)
                steps.alone = steps._setup.seconds(lambda: original(learner, repeat(batch), done), steps._times)
            steps.ends.append(time.perf_counter())
            steps.graph = getattr(learner._passes, "_graph", None) is not None
            return terms

        AcceleratorState._reset_state(True)
        graphed = learner_module.GraphedPasses
        Learner.step = step  # type: ignore[method-assign]
        if not self._graphs:
            learner_module.GraphedPasses = lambda run, network: run  # type: ignore[assignment, misc, return-value]
        try:
            yield
        finally:
            Learner.step, learner_module.GraphedPasses = original, graphed  # type: ignore[method-assign, misc]


def fit_diffusion(setup: Setup) -> None:
    """Fit diffiqa by its recipe, as it is and compiled."""
    recipe = diffusion_settings(read_recipe("diffiqa"))
    if setup.dry:
        recipe = replace(recipe, width=8, batch_size=2, accumulate=1, precision="bf16", workers=0)
    if not setup.dry:
        _fit_diffusion(setup, "fit diffiqa, not compiled", replace(recipe, compile=False))
    if setup.left(70):
        _fit_diffusion(setup, "fit diffiqa", replace(recipe, compile=not setup.dry))
    if setup.left(40) and not setup.dry:
        whole = replace(recipe, compile=False, batch_size=recipe.batch_size * recipe.accumulate, accumulate=1)
        _fit_diffusion(setup, "fit diffiqa, one pass a step, not compiled", whole)


def _fit_diffusion(setup: Setup, line: str, settings: DiffusionSettings) -> None:
    out, steps, save = setup.work / "diffusion", setup.pick(34, 4), setup.pick(28, 2)
    timing = Steps(setup, setup.pick(3, 0), setup.pick(4, 1))
    settings = replace(settings, steps=steps, save_every=save, sample_every=1_000_000)
    images = settings.batch_size * settings.accumulate
    setup.free()
    with setup.guarded(line), timing.timed():
        begin = time.perf_counter()
        fit_diffiqa(settings, setup.manifest, out)
        whole = time.perf_counter() - begin
        took = np.diff(timing.ends)  # the first is the second step's, with what was written after the first step
        steady = took[setup.pick(12, 0) : save - 1]  # from when the loader's stock has been used up
        saving = float(took[save - 1]) - statistics.median(steady.tolist())
        setup.put(
            line, images / float(np.mean(steady)), the_same_batch_again=images / (timing.alone or 1),
            first_step_s=timing.ends[0] - begin, checkpoint_holds_s=saving,
            after_last_step_s=begin + whole - timing.ends[-1], graph=timing.graph, precision=settings.precision,
            workers=settings.workers, GiB=setup.memory(),
        )  # fmt: skip
    shutil.rmtree(out, ignore_errors=True)


def fit_regressors(setup: Setup) -> None:
    """Fit ediffiqa T and L by their recipes, in epochs that are long enough for a rate with loading."""
    labels = _long_table(setup, setup.pick(24_000, 60))
    for name, line in (("ediffiqa-t", "fit ediffiqa T"), ("ediffiqa-l", "fit ediffiqa L")):
        if setup.left(25) and not (setup.dry and name == "ediffiqa-l"):
            _fit_regressor(setup, line, name, labels)
    if setup.left(30) and not setup.dry:
        _fit_regressor(setup, "fit ediffiqa T, without a graph", "ediffiqa-t", labels, graphs=False)


def _long_table(setup: Setup, count: int) -> Path:
    """Write a labelled manifest of so many rows: the same crops under several names, for a manifest names each once."""
    manifest = read_manifest(setup.manifest)
    copies = -(-count // len(manifest))
    folder = setup.work / "long"
    folder.mkdir(exist_ok=True)
    for copy in range(copies):
        if not (folder / f"{copy}").exists():
            (folder / f"{copy}").symlink_to(manifest.root.resolve())
    rows = np.tile(np.arange(len(manifest)), copies)[:count]
    paths = [f"{index // len(manifest)}/{manifest.paths[row]}" for index, row in enumerate(rows)]
    people = [manifest.identities[row] for row in rows]
    labels = np.random.default_rng(0).random(count)
    table = pa.table({"path": paths, "identity": people, "diffiqa": labels, "error": [""] * count})
    write_table(table, folder / "labels.csv")
    return folder / "labels.csv"


def _fit_regressor(setup: Setup, line: str, name: str, labels: Path, graphs: bool = True) -> None:
    with setup.guarded(line):
        recipe = RegressorRecipe.from_recipe(read_recipe(name))
        method = replace(recipe.method, label="diffiqa", beta=1.0, min_images=2)  # type: ignore[call-arg]
        dry = {"precision": "bf16", "batch_size": 8} if setup.dry else {}
        recipe = replace(recipe, method=method, training=replace(recipe.training, epochs=1, **dry))
        backbone, vectors, out = (setup.work / f"{name}{end}" for end in (".safetensors", ".npy", "-run"))
        network: Any = tame_network(name)
        save_network(network.base_model, backbone)
        rows = len(read_manifest(labels))
        np.save(vectors, np.random.default_rng(0).standard_normal((rows, 512)).astype(np.float32))
        begin_at, size = setup.pick(40, 1), recipe.training.batch_size
        timing = Steps(setup, setup.pick(20, 0), setup.pick(15, 1), graphs)
        setup.free()
        begin = time.perf_counter()
        with timing.timed():
            fit_regressor(recipe, FitFiles(labels, backbone, vectors), out)
        ends = timing.ends[begin_at:-1]  # the last step may be a smaller one
        setup.put(
            line, (len(ends) - 1) * size / (ends[-1] - ends[0]), the_same_batch_again=size / (timing.alone or 1),
            first_step_s=timing.ends[0] - begin, after_last_step_s=time.perf_counter() - timing.ends[-1],
            steps=len(ends), graph=timing.graph, precision=recipe.training.precision, GiB=setup.memory(),
        )  # fmt: skip
        shutil.rmtree(out, ignore_errors=True)

"""Labels: FaceQAN and DifFIQA as `fiqa-train label` makes them, and as plain loops, one face at a time."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from diffiqa_labels import plain_loop as diffiqa_loop
from faceqan_labels import plain_loop as faceqan_loop
from numpy.typing import NDArray

from gpu_parts.setup import Setup, ranks_agree
from sdk.parallel import bounded_map
from tests.support.weights import tame_diffusion
from train.device.compiling import worth_compiling
from train.labelling.executors import PREPARING
from train.methods import diffiqa as diffiqa_method
from train.methods import faceqan as faceqan_method
from train.methods.diffiqa import DifFIQALabeller, DifFIQASettings
from train.methods.faceqan import FaceQANLabeller, FaceQANSettings
from train.networks import attack

MANY = 100_000
"""Images of a run that is worth compiling for."""


@contextmanager
def convolutions(tf32: bool) -> Iterator[None]:
    """Let cuDNN round to TF32, PyTorch's default, or not."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def measure(setup: Setup, line: str, labeller: Any, faces: NDArray[np.uint8], batches: int) -> None:
    """Time a labeller as the command calls it: the first three batches, then the others from several threads."""
    setup.free()
    size = setup.pick(labeller.batch_size, 1)
    keys = [str(index) for index in range(len(faces))]

    def label(start: int) -> NDArray[np.float32]:
        return labeller(faces[start : start + size], keys[start : start + size])[labeller.name]

    starts = []
    for _ in range(setup.pick(3, 1)):
        begin = time.perf_counter()
        label(0)
        starts.append(time.perf_counter() - begin)
    places = [size * (index % (len(faces) // size)) for index in range(batches)]
    with ThreadPoolExecutor(PREPARING) as pool:
        list(bounded_map(pool, label, places[: setup.pick(4, 0)], 2 * PREPARING))
        begin = time.perf_counter()
        list(bounded_map(pool, label, places, 2 * PREPARING))
        spent = time.perf_counter() - begin
    shaped = labeller._batches._shaped
    setup.put(
        line, spent / (batches * size) * 1e3, first_batch_s=starts[0], next_s=starts[1:],
        batch=size, faces=batches * size, compiled=labeller.record.get("compile"), GiB=setup.memory(),
        graph=bool(shaped and shaped._graph),
    )  # fmt: skip


def loops(setup: Setup, line: str, loop: Any, count: int) -> None:
    """Time a plain loop, in TF32 and in float32. `loop` labels some faces."""
    for name, tf32 in (("TF32", True), ("float32", False))[: setup.pick(2, 1)]:
        if setup.left(6):
            with setup.guarded(f"{line} loop, {name}"), convolutions(tf32):
                faces = setup.faces(count)
                if not setup.dry:
                    loop(faces[:1])
                setup.put(
                    f"{line} loop, {name}", setup.seconds(lambda faces=faces: loop(faces)) / count * 1e3, faces=count
                )


class FaceQAN:
    """FaceQAN with one network.

    Args:
        setup: Of the run.
        line: Name of the figures.
        network: Name of the network.
        batches: Batches to time.
    """

    def __init__(self, setup: Setup, line: str, network: str, batches: int) -> None:
        self.setup, self.line, self.batches = setup, line, setup.pick(batches, 1)
        self.model, self._network = setup.recognition(network), network
        self.settings = setup.pick(FaceQANSettings(), FaceQANSettings(iterations=2, copies=1))
        self.faces = setup.faces(setup.pick(640, 2))

    def labeller(self, compiled: bool, **more: Any) -> FaceQANLabeller:
        """Make a labeller."""
        return FaceQANLabeller(
            self.model, self.settings, device=self.setup.device, embed=False, compiled=compiled, **more
        )

    def default(self) -> None:
        """As the command labels many images, and how its ranks compare with those of float32."""
        setup, faces = self.setup, self.faces[: self.setup.pick(64, 2)]
        names, step = [str(index) for index in range(len(faces))], setup.pick(16, 2)
        labeller = self.labeller(worth_compiling(setup.device, MANY, faceqan_method.COMPILE_FROM))
        with setup.guarded(self.line):
            measure(setup, self.line, labeller, self.faces, self.batches)
            if setup.left(15):
                exact = self.labeller(False, bf16=False)
                parts = [exact(faces[at : at + step], names[at : at + step]) for at in range(0, len(faces), step)]
                wanted = np.concatenate([part["faceqan"] for part in parts])
                ranks = ranks_agree(labeller(faces, names)["faceqan"], wanted)
                setup.put(f"{self.line}: Spearman to float32", ranks, faces=len(faces))

    def not_compiled(self) -> None:
        """As the command labels few images."""
        if self.setup.left(15):
            with self.setup.guarded(f"{self.line}, not compiled"):
                measure(
                    self.setup, f"{self.line}, not compiled", self.labeller(False), self.faces, self.batches
                )  # fmt: skip

    def loop(self, count: int) -> None:
        """The plain loop."""
        model, noises = self.setup.recognition(self._network).to(self.setup.device), self.labeller(False)
        loops(self.setup, self.line, lambda faces: faceqan_loop(model, faces, noises), self.setup.pick(count, 1))

    def cudnn_depthwise(self) -> None:
        """With cuDNN's depthwise convolutions instead of those of `train.networks.depthwise_gpu`."""
        if self.setup.left(30):
            with self.setup.guarded(f"{self.line}, cuDNN"), patch.object(attack, "fuse_depthwise"):
                measure(self.setup, f"{self.line}, cuDNN", self.labeller(False), self.faces, self.batches)


def faceqan(setup: Setup) -> None:
    """FaceQAN with IResNet-100."""
    part = FaceQAN(setup, "faceqan", "iresnet100", 8)
    part.default()
    part.loop(8)
    if not setup.dry:
        part.not_compiled()


def faceqan_mobile(setup: Setup) -> None:
    """FaceQAN with mobilefacenet128. The run of few images comes first: nothing is compiled or planned then."""
    part = FaceQAN(setup, "faceqan mobile", "mobilefacenet128", 20)
    part.not_compiled()
    part.cudnn_depthwise()
    part.loop(12)
    if not setup.dry:
        part.default()


def diffiqa(setup: Setup) -> None:
    """DifFIQA with the UNet of width 128."""
    diffusion, model = tame_diffusion(setup.pick(128, 8)), setup.recognition("mobilefacenet128")
    settings = setup.pick(DifFIQASettings(), DifFIQASettings(t=1, repetitions=1))
    faces = setup.faces(setup.pick(96, 2))

    def labeller(compiled: bool) -> DifFIQALabeller:
        return DifFIQALabeller(diffusion, model, settings, device=setup.device, embed=False, compiled=compiled)

    default = labeller(worth_compiling(setup.device, MANY, diffiqa_method.COMPILE_FROM))
    noises = labeller(False)
    with setup.guarded("diffiqa"):
        measure(setup, "diffiqa", default, faces, setup.pick(8, 1))
    unet, judge = tame_diffusion(setup.pick(128, 8)).to(setup.device), setup.recognition("mobilefacenet128")
    judge = judge.to(setup.device)
    loops(setup, "diffiqa", lambda faces: diffiqa_loop(unet, judge, faces, noises), setup.pick(3, 1))
    if setup.left(25) and not setup.dry:
        with setup.guarded("diffiqa: Spearman to float32"):
            some = faces[:12]
            names = [str(index) for index in range(len(some))]
            with convolutions(tf32=False):
                wanted = diffiqa_loop(unet, judge, some, noises)
            found = default(some, names)["diffiqa"]
            setup.put("diffiqa: Spearman to float32", ranks_agree(found, wanted), faces=len(some))
    del default
    if setup.left(20) and not setup.dry:
        with setup.guarded("diffiqa, not compiled"):
            measure(setup, "diffiqa, not compiled", noises, faces, setup.pick(4, 1))

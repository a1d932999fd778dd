"""What the parts share: files, faces, networks, the device, and the list of figures."""

import gc
import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sdk.proof.verify import spearman
from tests.support.weights import tame_network
from train.data.manifest import read_manifest
from train.networks import get_variant, load_network
from train.networks.recognition import RecognitionModel

Value = TypeVar("Value")


@dataclass(frozen=True)
class Setup:
    """Files and limits of a run.

    Attributes:
        data: Folder of crops with `manifest.csv`, or a manifest.
        weights: Of mobilefacenet128; None for random ones.
        models: Exports, as `NAME/NAME-fp16.onnx`; what is missing is exported into `work`.
        work: Folder for what is written meanwhile.
        dry: Everything tiny, on the CPU.
        until: Time when the process will be ended, seconds since 1970.
    """

    data: Path
    weights: Path | None
    models: Path | None
    work: Path
    dry: bool
    until: float

    def pick(self, real: Value, dry: Value) -> Value:
        """Return the first value, or the second one in a dry run."""
        return dry if self.dry else real

    @property
    def device(self) -> torch.device:
        """The GPU; the CPU in a dry run."""
        return torch.device(self.pick("cuda", "cpu"))

    @property
    def manifest(self) -> Path:
        """The manifest of the crops."""
        return self.data / "manifest.csv" if self.data.is_dir() else self.data

    def left(self, seconds: float) -> bool:
        """Tell whether so much time is left."""
        return time.time() + seconds < self.until

    def put(self, line: str, value: float | str | None, **more: Any) -> None:
        """Add a figure: of a line of the page (`gpu_parts.page`), or any other, with what belongs to it."""
        row = {"line": line, "value": value, **more}
        with open(self.work / "figures.jsonl", "a") as file:
            file.write(json.dumps(row, default=float) + "\n")
        print(row, flush=True)

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Note an error as a figure, and go on with what follows."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the other figures of a part shall not be lost with one
            traceback.print_exc()
            self.put(f"{what}: error", f"{type(error).__name__}: {str(error)[:300]}")

    @cached_property
    def _paths(self) -> list[Path]:
        manifest = read_manifest(self.manifest)
        return [manifest.root / path for path in manifest.paths]

    def faces(self, count: int) -> NDArray[np.uint8]:
        """Return crops (count, 112, 112, 3), taken evenly; again and again where there are fewer."""
        paths = self._paths
        chosen = np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)
        return np.resize(np.stack([cv2.imread(str(paths[index])) for index in chosen]), (count, 112, 112, 3))

    def recognition(self, name: str) -> RecognitionModel:
        """Return a face-recognition model: `iresnet100` with random weights, or mobilefacenet128."""
        if name == "iresnet100":
            backbone = tame_network(self.pick("ediffiqa-l", "ediffiqa-t")).base_model  # L's backbone is IResNet-100
            return RecognitionModel(backbone, (0.5,) * 3, (0.5,) * 3).eval().requires_grad_(False)
        network = tame_network(name) if self.weights is None else load_network(name, self.weights)
        variant = get_variant(name)
        return RecognitionModel(network, variant.mean, variant.std).eval().requires_grad_(False)

    def wait(self) -> None:
        """Wait until the device has done all that is queued."""
        if not self.dry:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], times: int = 1) -> float:
        """Return what a call takes, the device's work included."""
        self.wait()
        start = time.perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return (time.perf_counter() - start) / times

    def memory(self) -> float:
        """Return the most memory of the device that torch has used so far, GiB."""
        return 0.0 if self.dry else torch.cuda.max_memory_allocated() / 2**30

    def free(self) -> None:
        """Give back what torch keeps of the device's memory."""
        gc.collect()
        if not self.dry:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def ranks_agree(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return Spearman's correlation."""
    return float(spearman(np.asarray(first, np.float64), np.asarray(second, np.float64)))

"""The SDK on CUDA: T, L and fiqa-nano through `QualityScorer`, and the networks alone in PyTorch."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gpu_parts.files import file_of
from gpu_parts.setup import Setup, ranks_agree
from sdk import QualityScorer
from tests.support.weights import tame_network

EXPORTS = (("ediffiqa-t", "fp16"), ("ediffiqa-t", "fp32"), ("ediffiqa-l", "fp16"), ("ediffiqa-l", "fp32"))
"""Network and precision of the files, in the order in which they are needed."""

NANO = "fiqa-nano"


def _file(setup: Setup, name: str, precision: str) -> Path:
    return file_of(setup.models, setup.work, name, precision)


def export_missing(setup: Setup) -> None:
    """Export the networks with random weights where no file was given. Needs no GPU."""
    from export.pipeline import export_model
    from export.settings import ExportSettings
    from train.networks import save_network

    for name, precision in EXPORTS:
        if _file(setup, name, precision).exists():
            continue
        weights = setup.work / f"export-{name}.safetensors"
        with setup.guarded(f"export {name} {precision}"):
            if not weights.exists():
                save_network(tame_network(name), weights)
            begin, out = time.perf_counter(), setup.work / "exports" / name
            export_model(name, weights, out, None, ExportSettings(precision=precision, keep_going=True))
            setup.put(f"export {name} {precision}", time.perf_counter() - begin, unit="s")


def sdk_t(setup: Setup) -> None:
    """T in fp16 and in float32."""
    _scorer(setup, "T fp16", _file(setup, "ediffiqa-t", "fp16"), _file(setup, "ediffiqa-t", "fp32"))
    if setup.left(14) and not setup.dry:
        _scorer(setup, "T fp32", _file(setup, "ediffiqa-t", "fp32"))
    if setup.left(14) and not setup.dry:
        with setup.guarded("T fp16, the other layout"):
            _other_layout(setup, "T fp16", _file(setup, "ediffiqa-t", "fp16"))


def sdk_l(setup: Setup) -> None:
    """L in fp16 and in float32."""
    _scorer(setup, "L fp16", _file(setup, "ediffiqa-l", "fp16"), _file(setup, "ediffiqa-l", "fp32"))
    if setup.left(14) and not setup.dry:
        _scorer(setup, "L fp32", _file(setup, "ediffiqa-l", "fp32"))


def sdk_nano(setup: Setup) -> None:
    """The embedded model, fiqa-nano, in float32."""
    _scorer(setup, "nano", NANO, NANO)


def _there(setup: Setup, file: str | Path) -> str | Path | None:
    """Return the model to load: a file, or the embedded one, which also stands for all files in a dry run."""
    if setup.dry or isinstance(file, str):
        return NANO
    return file if file.exists() else None


def _scorer(setup: Setup, line: str, file: str | Path, exact: str | Path | None = None) -> None:
    model = _there(setup, file)
    if model is None:
        setup.put(f"{line}: error", f"{file} was not exported in time")
        return
    faces = setup.faces(setup.pick(1024, 12))
    with setup.guarded(line):
        begin = time.perf_counter()
        scorer = QualityScorer(model, str(setup.device))
        loaded = time.perf_counter()
        scorer.warmup()
        setup.put(f"{line}: warmup", time.perf_counter() - loaded, load_s=loaded - begin, device=scorer.device)
        with scorer:
            _first_calls(setup, line, scorer, faces)
            _one_face(setup, line, scorer, faces)
            _batches(setup, line, scorer, faces)
            if exact is not None and setup.left(8) and (source := _there(setup, exact)) is not None:
                _to_cpu(setup, line, scorer, source, faces)


def _first_calls(setup: Setup, line: str, scorer: QualityScorer, faces: Any) -> None:
    """Time batches of random sizes after `warmup`: no call may be slow, also not the first one of a size."""
    runtime = scorer._runtime
    sizes = runtime._fixed or (1, runtime.batch)
    draw, calls = np.random.default_rng(0), {}
    counts = [*sizes, *sizes, *draw.integers(1, min(sizes[-1], len(faces)) + 1, setup.pick(200, 4)).tolist()]
    for count in (min(count, len(faces)) for count in counts):
        begin = time.perf_counter()
        runtime.run(faces[:count])
        size = next(size for size in sizes if size >= count)
        calls.setdefault(size, []).append(time.perf_counter() - begin)
    medians = {size: float(np.median(times)) for size, times in sorted(calls.items())}
    largest = {size: round(max(calls[size]) / median, 2) for size, median in medians.items()}
    first = {size: round(calls[size][0] / median, 2) for size, median in medians.items()}
    median_ms = {size: round(median * 1e3, 2) for size, median in medians.items()}
    worst = max(largest.values())
    setup.put(f"{line}: largest call", worst, by_size=largest, first_call=first, median_ms=median_ms)


def _one_face(setup: Setup, line: str, scorer: QualityScorer, faces: Any) -> None:
    took = []
    for index in range(setup.pick(400, 3)):
        begin = time.perf_counter()
        scorer.score(faces[index % len(faces)])
        took.append((time.perf_counter() - begin) * 1e3)
    setup.put(f"{line}: one face", float(np.median(took)), p99=float(np.percentile(took, 99)), largest=max(took))


def _batches(setup: Setup, line: str, scorer: QualityScorer, faces: Any) -> None:
    rates = {}
    for count in setup.pick((64, 256, 1024), (4, 12)):
        part = faces[:count]
        rates[str(count)] = count / _for_a_while(setup, lambda part=part: scorer.score_batch(part))
    setup.put(f"{line}: batches", max(rates.values()), by_size={count: round(rate) for count, rate in rates.items()})


def _for_a_while(setup: Setup, work: Callable[[], object], seconds: float = 0.7) -> float:
    """Return the seconds of a call, warm."""
    work()
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < setup.pick(seconds, 0.02):
        work()
        calls += 1
    setup.wait()
    return (time.perf_counter() - begin) / calls


def _to_cpu(setup: Setup, line: str, scorer: QualityScorer, exact: Any, faces: Any) -> None:
    some = faces[:: setup.pick(32, 3)]
    found = scorer.score_batch(some)
    with QualityScorer(exact, "cpu") as cpu:
        wanted = cpu.score_batch(some)
    largest = float(np.abs(found - wanted).max())
    setup.put(f"{line}: largest difference to the CPU's float32", largest, spearman=ranks_agree(found, wanted))


def _other_layout(setup: Setup, line: str, file: Path) -> None:
    """The same file with the other value of `prefer_nhwc`."""
    from sdk.runtimes import onnxruntime as own

    options = own.provider_options

    def other(kind: str, number: int, model: Any) -> dict[str, str]:
        chosen = options(kind, number, model)
        return chosen | {"prefer_nhwc": "0" if chosen.get("prefer_nhwc") == "1" else "1"}

    own.provider_options = other  # type: ignore[assignment]
    try:
        _scorer(setup, f"{line}, the other layout", file)
    finally:
        own.provider_options = options


def networks(setup: Setup) -> None:
    """T and L in PyTorch alone, inputs on the device: batches of 512 in fp16, and T in a CUDA graph."""
    dtype = setup.pick(torch.float16, torch.float32)
    for name, line in (("ediffiqa-t", "T"), ("ediffiqa-l", "L")):
        if not setup.left(6) or (setup.dry and line == "L"):
            continue
        with setup.guarded(f"{line} in PyTorch"), torch.inference_mode():
            network = tame_network(name).to(setup.device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
            x = torch.rand(setup.pick(512, 2), 3, 112, 112, device=setup.device, dtype=dtype)
            x = x.contiguous(memory_format=torch.channels_last)
            for _ in range(3):
                network(x)
            rate = len(x) / setup.seconds(partial(network, x), setup.pick(20, 1))
            setup.put(f"{line} in PyTorch", rate, batch=len(x), type=str(dtype))
            if line == "T" and not setup.dry:
                setup.put("T in a CUDA graph", _graph(network, x[:1]) * 1e3)


def _graph(network: nn.Module, x: torch.Tensor) -> float:
    """Return the seconds of one replay, the face's copy to the device and the score's copy back included."""
    face, still = x.cpu().pin_memory(), x.clone()
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        for _ in range(3):
            network(still)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        score = network(still)
    times = []
    for _ in range(200):
        begin = time.perf_counter()
        still.copy_(face, non_blocking=True)
        graph.replay()
        (score[0] if isinstance(score, tuple) else score).cpu()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))

"""What fiqa does on a GPU, beside plain alternatives and what is wanted: one command, a page of figures.

    PYTHONPATH=. python benchmarks/gpu.py --data crops --weights mobilefacenet128.safetensors --out gpu.md --budget 540

Each part is a process of its own with a time limit, the most important first; a part that is cut loses only its last
figure, and the page is written after each part. Meanwhile the files for the SDK are exported on the CPU, where
`--models` has none. Nothing is fetched. Without `--data` the faces are noise, without weights the networks are
random: that changes no speed. `--dry` runs everything tiny on the CPU; its figures mean nothing.
"""

import argparse
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpu_parts.files import file_of, make_faces
from gpu_parts.page import read_figures, write_page
from gpu_parts.setup import Setup


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the measurement.

    Attributes:
        limit: Seconds after which it is ended.
        place: Module and function.
        files: Exported files that it reads, as network and precision.
    """

    limit: int
    place: str
    files: tuple[tuple[str, str], ...] = ()


PARTS = {
    "faceqan": Part(100, "labels:faceqan"),
    "diffiqa": Part(130, "labels:diffiqa"),
    "sdk-l": Part(40, "scoring:sdk_l", (("ediffiqa-l", "fp16"),)),
    "sdk-t": Part(60, "scoring:sdk_t", (("ediffiqa-t", "fp16"), ("ediffiqa-t", "fp32"))),
    "fit-diffiqa": Part(150, "training:fit_diffusion"),
    "fit-ediffiqa": Part(110, "training:fit_regressors"),
    "faceqan-mobile": Part(100, "labels:faceqan_mobile"),
    "sdk-nano": Part(30, "scoring:sdk_nano"),
    "networks": Part(30, "scoring:networks"),
}
"""By name, the most important first."""

EXPORT = "scoring:export_missing"


def main() -> None:
    """Read the options; measure, or be one of the parts."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, help="folder of aligned crops with manifest.csv, or a manifest")
    options.add_argument("--weights", type=Path, help="weights of mobilefacenet128")
    options.add_argument("--models", type=Path, help="folder of exports: ediffiqa-t/ediffiqa-t-fp16.onnx, ...")
    options.add_argument(
        "--out", type=Path, default=Path("gpu.md"), help="page to write; figures and logs lie beside it"
    )
    options.add_argument("--budget", type=float, default=540, help="seconds for everything")
    options.add_argument("--parts", default=",".join(PARTS), help="parts to measure, in this order")
    options.add_argument("--dry", action="store_true", help="everything tiny, on the CPU")
    options.add_argument("--run", metavar="PLACES", help=argparse.SUPPRESS)
    options.add_argument("--until", type=float, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.run is None:
        measure(given)
    else:
        run(given)


def run(given: argparse.Namespace) -> None:
    """Be a process that measures some parts."""
    logging.basicConfig(level=logging.WARNING)
    setup = Setup(given.data, given.weights, given.models, work_of(given), given.dry, given.until)
    for place in given.run.split(","):
        module, _, name = place.partition(":")
        function: Callable[[Setup], None] = getattr(importlib.import_module(f"gpu_parts.{module}"), name)
        function(setup)


def work_of(given: argparse.Namespace) -> Path:
    """Return the folder for figures, logs, exports and runs."""
    return given.out.with_suffix("").with_name(given.out.stem + "-work")


def measure(given: argparse.Namespace) -> None:
    """Run the parts in their order, and write the page after each."""
    names = given.parts.split(",")
    if unknown := set(names) - set(PARTS):
        raise SystemExit(f"unknown parts: {', '.join(sorted(unknown))}; wanted some of {', '.join(PARTS)}")
    ends_at, work, ended = time.time() + given.budget, work_of(given), {}
    work.mkdir(parents=True, exist_ok=True)
    (work / "figures.jsonl").unlink(missing_ok=True)
    if given.data is None:
        given.data = work / "faces"
        make_faces(given.data, 16 if given.dry else 1024)
    files = any(PARTS[name].files for name in names) and not given.dry
    export = (
        start(given, "export", EXPORT, ends_at, {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "4"}) if files else None
    )
    waiting = [names] if given.dry else [[name] for name in names]  # loading torch anew takes most of a dry run
    while waiting:
        group = next((group for group in waiting if export is None or ready(given, group[0], export)), None)
        if group is not None:
            waiting.remove(group)
            ended |= dict.fromkeys(group, one(given, group, ends_at))
            write_page(given.out, read_figures(work / "figures.jsonl"), ended, given.dry)
        elif time.time() > ends_at - 10:
            ended |= {name: "left out: its files were not exported in time" for group in waiting for name in group}
            break
        else:
            time.sleep(0.3)
    if export is not None:
        stop(export)
    write_page(given.out, read_figures(work / "figures.jsonl"), ended, given.dry)
    print(given.out.read_text())


def ready(given: argparse.Namespace, name: str, export: "subprocess.Popen[bytes]") -> bool:
    """Tell whether the files of a part are there, or will not come."""
    return export.poll() is not None or all(
        file_of(given.models, work_of(given), *file).with_suffix(".report.json").exists() for file in PARTS[name].files
    )


def one(given: argparse.Namespace, names: list[str], ends_at: float) -> str:
    """Run a part, or in a dry run several in one process; return how it ended."""
    begin = time.time()
    limit = min(sum(PARTS[name].limit for name in names), ends_at - begin - 2)
    if limit < 8:
        return "left out: the time is up"
    print(f"## {', '.join(names)}: at most {limit:.0f} s", flush=True)
    places = ",".join(PARTS[name].place for name in names)
    process = start(given, names[0], places, begin + limit - 2, {})
    try:
        code = process.wait(limit)
        end = "done" if code == 0 else f"ended with {code}, see its log"
    except subprocess.TimeoutExpired:
        end = "cut at its limit"
    finally:
        stop(process)
    return f"{end}, {time.time() - begin:.0f} s"


def start(
    given: argparse.Namespace, name: str, places: str, until: float, environment: dict[str, str]
) -> "subprocess.Popen[bytes]":
    """Start a process for a part, in a group of its own, with a log."""
    words = [sys.executable, __file__, "--run", places, "--until", str(until), "--out", str(given.out)]
    for option in ("data", "weights", "models"):
        if (value := getattr(given, option)) is not None:
            words += [f"--{option}", str(value)]
    words += ["--dry"] if given.dry else []
    offline = {
        "FIQA_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "FIQA_CACHE": str(work_of(given) / "cache"),
    }
    hidden = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} if given.dry else {}
    with open(work_of(given) / f"{name}.log", "w") as log:
        return subprocess.Popen(
            words, env={**os.environ, **offline, **hidden, **environment}, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and those that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


if __name__ == "__main__":
    main()

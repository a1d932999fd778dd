"""Kill commands at random moments: `python benchmarks/kill_tests.py [--kills 20] [--seed 0] [--only score-csv]`.

Commands that score, follow a video, export and download are stopped by SIGKILL, at times by SIGTERM or SIGINT, and
started again. After each stop all files under their final names must be whole, and no process may stay behind. Started
again to the end, each must have the result of a run that was never stopped. Temporary files must not pile up.

Label, embed and fit have a script of their own, `benchmarks/kill_training.py`. Prints a Markdown table; exit code 1
when something is wrong. POSIX only.
"""

import argparse
import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

SIGNALS = (signal.SIGKILL,) * 4 + (signal.SIGTERM, signal.SIGINT)
PATIENCE = 120.0
"""Seconds that a stopped process may take to end: others may use the machine."""

ATTEMPTS = 4
"""Starts for each kill at most: a command may end before it is killed."""

MOST_LEFT = 3
"""Temporary files that may be left in all, however often a command was killed."""

CROPS, DOWNLOAD = 400, 6 << 20

FETCH = """
import sys, sdk.models.catalog as catalog
from sdk.models.card import ModelCard
entry = catalog.CatalogEntry(ModelCard("slow"), "slow.onnx", {sha256!r}, {size}, ("https://127.0.0.1:9/slow.onnx",))
catalog.catalog = lambda: {{"slow": entry}}
from sdk.commands.app import app
app()
"""
"""`fiqa` with a catalogue of one model."""


@dataclass
class Job:
    """A command, and what must be there.

    Attributes:
        name: In the table.
        command: Words by the folder to write to.
        outputs: Final names below that folder.
        check: Raises an error when an output that is there is not whole.
        result: What must be equal; None where the outputs are to be deleted and made anew.
        anew: Outputs that the command refuses to replace: they are deleted before it goes on.
        environment: Additional variables.
    """

    name: str
    command: Callable[[Path], list[str]]
    outputs: Sequence[str]
    check: Callable[[Path], None]
    result: Callable[[Path], Any]
    anew: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)


def program(app: str, *words: object) -> list[str]:
    """A command of this tree, whatever is installed."""
    return [sys.executable, "-c", f"from {app} import app; app()", *map(str, words)]


# Score


def score_job(faces: Path, suffix: str) -> Job:
    """`fiqa score`, whose table goes on by --resume."""

    def command(folder: Path) -> list[str]:
        table = folder / f"scores{suffix}"
        return program("sdk.commands.app", "score", faces, "--aligned", "--threads", 1, "--out", table, "--resume")

    def check(folder: Path) -> None:
        if suffix != ".csv":  # the last line of a CSV may be torn until the next run heals it
            rows(folder)

    def rows(folder: Path) -> list[Any]:
        table = folder / f"scores{suffix}"
        if suffix == ".parquet":
            import pyarrow.parquet

            found = pyarrow.parquet.read_table(table).to_pylist()
            return sorted((Path(row["path"]).name, row["score"], row["error"]) for row in found)
        if suffix == ".jsonl":
            lines = whole_lines(table)
            return sorted((Path(row["path"]).name, row["score"], row["error"]) for row in lines)
        return sorted(table.read_bytes().splitlines())

    return Job(f"score{suffix}", command, [f"scores{suffix}"], check, rows)


def whole_lines(path: Path) -> list[Any]:
    """JSON Lines; the last one may be torn."""
    *lines, last = path.read_bytes().split(b"\n")
    if last and not last.startswith(b"{"):
        raise ValueError(f"{path.name} ends in {last[:40]!r}")
    return [json.loads(line) for line in lines]


# Video


def video_job(clip: Path) -> Job:
    """`fiqa video`: lines go on behind those of earlier runs, a video that is there is refused."""

    def command(folder: Path) -> list[str]:
        words = ("--out", folder / "frames.jsonl", "--best-shots", folder / "shots", "--save", folder / "seen.avi")
        return program("sdk.commands.app", "video", clip, *words)

    def check(folder: Path) -> None:
        if (folder / "frames.jsonl").exists():
            whole_lines(folder / "frames.jsonl")
        if (folder / "seen.avi").exists() and not count_frames(folder / "seen.avi"):
            raise ValueError("seen.avi holds no frame")
        for picture in (folder / "shots").glob("[!.]*.[jp][pn]g"):
            if cv2.imread(str(picture)) is None:
                raise ValueError(f"{picture.name} is damaged")

    def result(folder: Path) -> Any:
        lines = whole_lines(folder / "frames.jsonl")
        last = lines[max(place for place, line in enumerate(lines) if line["index"] == 0) :]
        shots = whole_lines(folder / "shots" / "shots.jsonl")
        for name in (shot["picture"] for line in shots for shot in line["shots"]):
            if not (folder / "shots" / name).is_file():
                raise ValueError(f"shots.jsonl names {name}, which is not there")
        return [(line["index"], len(line["faces"])) for line in last], count_frames(folder / "seen.avi")

    return Job("video", command, ["frames.jsonl", "shots", "seen.avi"], check, result, anew=["seen.avi"])


def count_frames(path: Path) -> int:
    """Frames of a video that can be decoded."""
    video, count = cv2.VideoCapture(str(path)), 0
    while video.read()[0]:
        count += 1
    return count


# Export and download


def export_job() -> Job:
    """`fiqa-export` of the packaged weights."""

    def check(folder: Path) -> None:
        for model in (folder / "made").glob("[!.]*.onnx"):
            import onnx

            onnx.checker.check_model(onnx.load(model))
        for text in (folder / "made").glob("[!.]*.json"):
            json.loads(text.read_bytes())

    def result(folder: Path) -> Any:
        files = [path for path in (folder / "made").iterdir() if path.suffix == ".onnx"]
        return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]

    words = ("--model", "fiqa-nano", "--out")
    return Job("export", lambda folder: program("export.cli", *words, folder / "made"), ["made"], check, result)


def download_job(data: bytes, port: int) -> Job:
    """`fiqa models fetch` from a slow mirror on this machine."""
    digest = hashlib.sha256(data).hexdigest()

    def check(folder: Path) -> None:
        for path in folder.rglob("slow.onnx"):
            if path.read_bytes() != data:
                raise ValueError(f"slow.onnx has {path.stat().st_size} of {len(data)} bytes")

    def result(folder: Path) -> Any:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("slow.onnx")]

    code = FETCH.format(sha256=digest, size=len(data))
    environment = {"FIQA_MIRROR": f"http://127.0.0.1:{port}"}
    return Job(
        "download", lambda folder: [sys.executable, "-c", code, "models", "fetch", "slow"], ["slow.onnx"], check,
        result, environment=environment,
    )  # fmt: skip


def serve_slowly(data: bytes) -> int:
    """Serve bytes on this machine, 4 MB a second; returns the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for start in range(0, len(data), 1 << 18):
                try:
                    self.wfile.write(data[start : start + (1 << 18)])
                except OSError:  # the client was killed
                    return
                time.sleep(1 / 16)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


# Killing


@dataclass
class Tally:
    """What became of a job."""

    kills: Counter[str] = field(default_factory=Counter)
    ended_before: int = 0
    completed: int = 0
    left: int = 0
    faults: list[str] = field(default_factory=list)


def start(job: Job, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a job's command in a session of its own."""
    environment = {**os.environ, **job.environment, "FIQA_CACHE": str(folder), "PYTHONPATH": str(ROOT)}
    with log.open("wb") as said:
        return subprocess.Popen(
            job.command(folder), env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=folder,
            start_new_session=True,
        )  # fmt: skip


def finish(job: Job, folder: Path, log: Path, tally: Tally, wanted: Any) -> None:
    """Run a job to its end, and compare its result."""
    for name in job.anew:
        (folder / name).unlink(missing_ok=True)
    code = start(job, folder, log).wait()
    if code != 0:
        tally.faults.append(f"exit {code} when started again: {log.read_text(errors='replace').strip()[-200:]}")
        return
    tally.completed += 1
    try:
        found = job.result(folder)
    except (OSError, ValueError) as error:
        tally.faults.append(f"after the end: {error}")
        return
    if found != wanted:
        tally.faults.append(f"another result: {str(found)[:100]}, wanted {str(wanted)[:100]}")


def kill(job: Job, folder: Path, log: Path, after: float, number: int, tally: Tally) -> None:
    """Start a job and send it a signal after some seconds; look at what is left."""
    for name in job.anew:
        (folder / name).unlink(missing_ok=True)
    process = start(job, folder, log)
    try:
        process.wait(after)
        tally.ended_before += 1
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        tally.kills[signal.Signals(number).name] += 1
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            tally.faults.append(f"does not end on {signal.Signals(number).name}")
            process.kill()
            process.wait()
    if not group_ends(process.pid):
        tally.faults.append(f"processes stay behind after {signal.Signals(number).name}")
    if b"Traceback" in log.read_bytes():
        tally.faults.append(f"a traceback on {signal.Signals(number).name}: {log.read_text(errors='replace')[-200:]}")
    try:
        if any((folder / name).exists() for name in job.outputs):
            job.check(folder)
    except Exception as error:  # noqa: BLE001 - whatever a reader makes of half a file
        tally.faults.append(f"half a file after {signal.Signals(number).name}: {type(error).__name__}: {error}")


def group_ends(group: int) -> bool:
    """Wait until no process of a group is left; end those that stay."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return False


def run(job: Job, kills: int, seed: int, place: Path) -> Tally:
    """Kill a job's command again and again in one folder; every other time, or more rarely, let it end."""
    draw, tally = random.Random(f"{seed}/{job.name}"), Tally()
    whole, folder, log = place / f"{job.name}-whole", place / job.name, place / f"{job.name}.log"
    whole.mkdir()
    folder.mkdir()
    begin = time.monotonic()
    if start(job, whole, log).wait() != 0:
        tally.faults.append(f"does not run at all: {log.read_text(errors='replace')[-300:]}")
        return tally
    seconds, wanted = time.monotonic() - begin, job.result(whole)
    own = {path.name for path in whole.rglob("*")}
    for _ in range(ATTEMPTS * kills):
        if tally.kills.total() == kills:
            break
        kill(job, folder, log, draw.uniform(0.2, 1.0) * seconds, draw.choice(SIGNALS), tally)
        if draw.random() < 0.5 or tally.kills.total() == kills:
            finish(job, folder, log, tally, wanted)
            clear(job, folder)
            tally.left = sum(path.is_file() and path.name not in own for path in folder.rglob("*"))
    if tally.left > MOST_LEFT:
        tally.faults.append(f"{tally.left} temporary files are left")
    return tally


def clear(job: Job, folder: Path) -> None:
    """Delete the outputs, but not what else was left."""
    for name in job.outputs:
        path = folder / name
        if path.is_dir():
            for file in [file for file in path.iterdir() if not file.name.startswith(".")]:
                file.unlink()
        else:
            path.unlink(missing_ok=True)


def make_inputs(place: Path) -> tuple[Path, Path]:
    """A folder of crops, and a clip."""
    from media.make_clip import clip_frames

    faces, draw = place / "faces", np.random.default_rng(0)
    faces.mkdir()
    for number in range(CROPS):
        cv2.imwrite(str(faces / f"{number}.png"), draw.integers(0, 256, (112, 112, 3), np.uint8))
    clip = place / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 360))
    for frame in list(clip_frames())[25:125]:
        writer.write(frame)
    writer.release()
    return faces, clip


def main() -> int:
    """Kill all; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one command alone, by its name in the table")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it for all it starts
    place = Path(tempfile.mkdtemp(prefix="fiqa-kills-"))
    faces, clip = make_inputs(place)
    data = random.Random(options.seed).randbytes(DOWNLOAD)
    jobs = [score_job(faces, suffix) for suffix in (".csv", ".jsonl", ".parquet")]
    jobs += [video_job(clip), export_job(), download_job(data, serve_slowly(data))]
    faults = []
    print(
        "| Command | Killed | Terminated, interrupted | Ended before | Run to the end | Temporary files left | Faults |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for job in jobs:
        if options.only in (None, job.name):
            tally = run(job, options.kills, options.seed, place)
            gentle = tally.kills["SIGTERM"] + tally.kills["SIGINT"]
            values = (
                tally.kills["SIGKILL"],
                gentle,
                tally.ended_before,
                tally.completed,
                tally.left,
                len(tally.faults),
            )
            print(f"| {job.name} | {' | '.join(map(str, values))} |", flush=True)
            faults += [f"{job.name}: {fault}" for fault in tally.faults]
    print("\n".join(["", *faults]))
    shutil.rmtree(place, ignore_errors=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

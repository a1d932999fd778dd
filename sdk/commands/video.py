"""fiqa video: score a stream while it runs."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.status import Status

from sdk.commands.console import INTERRUPTED, error_exits, say
from sdk.commands.options import (
    AcceptOption,
    CalibrationOption,
    DetectorOption,
    DeviceOption,
    ModelOption,
    ReasonsFileOption,
    ReasonsOption,
    ThresholdOption,
    accepted_from,
)
from sdk.scorer import QualityScorer
from sdk.stopping import OrderlyEnd, leave, wait_for
from sdk.text import count

if TYPE_CHECKING:
    from sdk.video import Counters, VideoScorer
    from sdk.video.outputs import Outputs, OutputSettings

Source = Annotated[
    str,
    typer.Argument(
        help="Index of a camera, video file, folder of frames, rtsp:// or http:// URL, GStreamer pipeline, or preset "
        "of a Jetson (csi:0, usb:0, nvdec:rtsp://...).",
        envvar="FIQA_SOURCE",
    ),
]
ShotsFolder = Annotated[Path | None, typer.Option(help="Folder for the best faces of each track.")]
Save = Annotated[Path | None, typer.Option(help="Video to write, with boxes and scores: .mp4, .avi or .mkv.")]
Out = Annotated[Path | None, typer.Option(help="Table to write, one row per frame: .jsonl or .parquet.")]
Show = Annotated[bool, typer.Option("--show", help="Open a window. Needs an OpenCV with windows.")]
Serve = Annotated[int | None, typer.Option(help="Port of a page with the picture, the counters and the best shots.")]
Host = Annotated[str, typer.Option(help="Address of the page. 0.0.0.0 lets every machine see it, without a password.")]
MinSize = Annotated[float, typer.Option(help="Smallest face that is scored: shorter side of its box, pixels.")]
MinSharpness = Annotated[float, typer.Option(help="Least sharpness of a best shot. 50 is blurred, 300 is sharp.")]
KeepRejected = Annotated[
    bool, typer.Option("--keep-rejected", help="Let best shots be faces that are rejected, or hardly faces, too.")
]
Keep = Annotated[int, typer.Option(help="Number of best shots of each track.")]
Every = Annotated[int, typer.Option(help="Look for faces in every n-th frame, and follow them in the others.")]
MaxFps = Annotated[float | None, typer.Option(help="Most frames per second; others are skipped.")]
DetectionSide = Annotated[
    int | None,
    typer.Option(
        help="Longest side to which a frame is scaled for the detector, pixels. More finds smaller faces and takes "
        "longer.",
        show_default="640",
    ),
]


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """The options of `fiqa video` but for its outputs; see its help."""

    source: str
    min_size: float
    min_sharpness: float
    threshold: float | None
    accept: str | None
    calibration: Path | None
    keep_rejected: bool
    reasons: bool
    reasons_file: Path | None
    keep: int
    every: int
    max_fps: float | None
    detection_side: int | None
    detector: str | None
    model: str
    device: str


def video(
    source: Source,
    best_shots: ShotsFolder = None,
    save: Save = None,
    out: Out = None,
    show: Show = False,
    serve: Serve = None,
    host: Host = "127.0.0.1",
    min_size: MinSize = 40,
    min_sharpness: MinSharpness = 0,
    threshold: ThresholdOption = None,
    accept: AcceptOption = None,
    calibration: CalibrationOption = None,
    reasons: ReasonsOption = False,
    reasons_file: ReasonsFileOption = None,
    keep: Keep = 3,
    keep_rejected: KeepRejected = False,
    every: Every = 1,
    max_fps: MaxFps = None,
    detection_side: DetectionSide = None,
    detector: DetectorOption = None,
    model: ModelOption = "fiqa-nano",
    device: DeviceOption = "auto",
) -> None:
    """Find, follow and score the faces of a stream, and keep the best of each person.

    With --threshold or --accept each face is accepted or rejected. Best shots are accepted faces then, and a track's
    first accepted face is written at once, not only at the track's end.

    Files and folders are read to their end. Cameras and streams are read until Ctrl-C or SIGTERM, and are opened again
    when they fail. Counters go to stderr: at the end, and on a terminal all the time.

    Files of an earlier run are never emptied: --out and --best-shots add lines to a .jsonl file, and any other file
    that is there is refused.

    Exit codes: 0 the end was reached, or SIGTERM or SIGHUP came; 1 an error, such as a full disk; 2 a wrong path or
    option; 130 stopped by Ctrl-C. What was written is whole in every case, with the faces that were in sight.
    """
    from sdk.video.outputs import OutputSettings

    settings = VideoSettings(
        source, min_size, min_sharpness, threshold, accept, calibration, keep_rejected, reasons, reasons_file, keep,
        every, max_fps,        detection_side, detector, model, device,
    )  # fmt: skip
    outputs = OutputSettings(out, save, best_shots, show, serve, host)
    threads = threading.enumerate()
    try:
        with error_exits(), OrderlyEnd() as signals:
            code = _run(settings, outputs, signals)
    except typer.Exit as end:
        code = end.exit_code
    leave(code, "fiqa-", threads)
    raise typer.Exit(code)


def _run(settings: VideoSettings, wanted: "OutputSettings", signals: OrderlyEnd) -> int:
    """Score the stream to its end or until a signal; returns the exit code."""
    from sdk.video.outputs import Outputs

    _quieten_libraries()
    wanted.check(settings.source, settings.model)
    try:
        with ExitStack() as stack:
            accepted = accepted_from(settings.threshold, settings.accept)
            scorer = stack.enter_context(
                QualityScorer(
                    settings.model,
                    settings.device,
                    calibration=settings.calibration,
                    accept=accepted,
                    reasons=settings.reasons if settings.reasons_file is None else settings.reasons_file,
                )
            )
            outputs = Outputs(wanted, scorer)
            stack.callback(outputs.close)
            stream = _open_stream(settings, scorer, outputs)
            stack.callback(stream.close)  # where an output cannot be opened
            outputs.open(stream)
            if outputs.page is not None:
                say(f"page: {outputs.page.address}")
            stack.callback(lambda: say(_summary(stream.counters)))
            stack.callback(stream.close)  # first of all: it flushes the tracks to the outputs
            stack.callback(signals.close)
            signals.watch(stream.stop)
            with _status(stream) as update:
                for result in stream:
                    if not outputs.add(result):
                        break
                    update()
    except KeyboardInterrupt as stopped:
        code = getattr(stopped, "code", INTERRUPTED)
        if code:
            say("interrupted: what was scored until then is written", "yellow")
        return int(code)
    return 0


def _open_stream(settings: VideoSettings, scorer: QualityScorer, outputs: "Outputs") -> "VideoScorer":
    from sdk.video import BestShots, VideoScorer, open_source
    from sdk.video.best_shot import DOUBTFUL
    from sdk.video.video_scorer import DETECTION_SIDE, default_detectors

    detectors = default_detectors(settings.detection_side or DETECTION_SIDE, settings.detector or "fiqa-detector")
    low, high = scorer.card.score_range
    shots = BestShots(
        outputs.add_shots, count=settings.keep, rejected=settings.keep_rejected,
        min_sharpness=settings.min_sharpness, doubtful=low + DOUBTFUL * (high - low),
    )  # fmt: skip
    opened = wait_for(lambda: open_source(settings.source))
    return VideoScorer(
        opened, scorer, detectors, best_shots=shots, every=settings.every, max_fps=settings.max_fps,
        min_size=settings.min_size,
    )  # fmt: skip


def _quieten_libraries() -> None:
    """Keep FFmpeg and GStreamer from writing addresses, with passwords, unless their variables are set."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("GST_DEBUG", "0")


@contextmanager
def _status(stream: "VideoScorer") -> Iterator[Callable[[], None]]:
    """Show a line of counters on stderr, twice a second; on a terminal only."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    last = 0.0
    with Status("waiting for the first frame", console=console) as status:

        def update() -> None:
            nonlocal last
            if time.monotonic() - last > 0.5:
                last = time.monotonic()
                status.update(_line(stream.counters))

        yield update


def _line(counters: "Counters") -> str:
    return (
        f"{counters.fps_in:.1f} frames/s in, {counters.fps_scored:.1f} scored; {counters.dropped} dropped; latency "
        f"{_latency(counters)}; {count('face', counters.faces)}; {count('reconnect', counters.reconnects)}"
    )


def _summary(counters: "Counters") -> str:
    rest = ", ".join(
        f"{value} {name}"
        for name in ("skipped", "dropped", "corrupt", "stale", "blank")
        if (value := getattr(counters, name))
    )
    unscored = f" ({counters.unscored} more without a score: the model gave no number)" if counters.unscored else ""
    return (
        f"{count('frame', counters.captured)}{f' ({rest})' if rest else ''}, {counters.scored} of them scored, "
        f"{count('face', counters.faces)}{unscored}; latency {_latency(counters)}; "
        f"{count('reconnect', counters.reconnects)}"
    )


def _latency(counters: "Counters") -> str:
    return f"{counters.latency_p50 * 1000:.0f} ms, p95 {counters.latency_p95 * 1000:.0f} ms"

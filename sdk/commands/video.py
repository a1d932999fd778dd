"""fiqa video: score a stream live."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.status import Status

from sdk.commands.console import INTERRUPTED, error_exits, print_plain
from sdk.errors import InputError
from sdk.files import check_outputs
from sdk.scorer import QualityScorer
from sdk.video.best_shot import BestShots, TrackShots
from sdk.video.ending import Signals, leaving_at_once, wait_for
from sdk.video.meter import Counters
from sdk.video.outputs import SHOT_LINES, ShotFolder, VideoFile, check_records, check_video, open_records
from sdk.video.overlay import Overlay
from sdk.video.reading.sources import find_file, open_source
from sdk.video.video_scorer import DETECTION_SIDE, VideoScorer, default_detectors
from sdk.video.web.page import Page

WINDOW = "fiqa video (q ends)"


def video(
    source: Annotated[
        str,
        typer.Argument(
            help="Index of a camera, video file, folder of frames, rtsp:// or http:// URL, GStreamer pipeline, "
            "Jetson preset (csi:0, usb:0, nvdec:rtsp://...).",
            envvar="FIQA_SOURCE",
        ),
    ],
    best_shots: Annotated[Path | None, typer.Option(help="Folder for the best faces of each track.")] = None,
    save: Annotated[Path | None, typer.Option(help="Video with overlay to write: .mp4, .avi or .mkv.")] = None,
    out: Annotated[Path | None, typer.Option(help="Results of each frame to write: .jsonl or .parquet.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Open a window; needs an OpenCV that has them.")] = False,
    serve: Annotated[int | None, typer.Option(help="Port of a page with picture, counters, best shots.")] = None,
    host: Annotated[str, typer.Option(help="Address of the page; 0.0.0.0 for all, without a password.")] = "127.0.0.1",
    min_size: Annotated[float, typer.Option(help="Least side of a face to be scored, pixels.")] = 40,
    min_sharpness: Annotated[float, typer.Option(help="Least sharpness of a best shot; 50 is blurred.")] = 0,
    floor: Annotated[float | None, typer.Option(help="Least score of a best shot.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Report a track as soon as a face has this score.")] = None,
    keep: Annotated[int, typer.Option(help="Best shots of each track.")] = 3,
    every: Annotated[int, typer.Option(help="Look for faces in every n-th frame, follow them between.")] = 1,
    max_fps: Annotated[float | None, typer.Option(help="Skip frames above this rate.")] = None,
    detection_side: Annotated[
        int, typer.Option(help="Longest side at which the detector sees a frame; more finds smaller faces, slower.")
    ] = DETECTION_SIDE,
    detector: Annotated[
        str, typer.Option(help="Face detector: fiqa-detector, in the package; yunet finds more.")
    ] = "fiqa-detector",
    model: Annotated[str, typer.Option(help="Name (fiqa models list) or path of a model file.")] = "fiqa-nano",
    device: Annotated[str, typer.Option(help="As fiqa score has it.")] = "auto",
) -> None:
    """Find, follow and score the faces of a stream, and keep the best of each person.

    Files and folders are read to their end; cameras and streams until Ctrl-C or SIGTERM, and they are opened again when
    they fail. Counters go to stderr: live on a terminal, and at the end.

    Files of an earlier run are never emptied: --out adds lines to a .jsonl, and what else is there is refused.

    Exit codes: 0 the end was reached, or SIGTERM, or SIGHUP; 1 an error, such as a full disk; 2 wrong usage, or no
    such source; 130 interrupted. What was written until then is whole, and the tracks that were in sight are written,
    too.
    """
    interrupted = False
    with leaving_at_once(), error_exits(), Signals() as signals:
        try:
            with ExitStack() as stack:
                _quieten_libraries()
                _check_outputs(source, model, out=out, save=save, best_shots=best_shots)
                window = _window(stack) if show else None
                scorer = stack.enter_context(QualityScorer(model, device))
                overlay = Overlay(scorer.card.score_range)
                detectors = default_detectors(detection_side, detector)
                folder: ShotFolder | None = None
                page: Page | None = None

                def tell(word: TrackShots) -> None:
                    if folder is not None:
                        folder.write(word)
                    if page is not None:
                        page.add(word)

                shots = BestShots(tell, count=keep, threshold=threshold, floor=floor, min_sharpness=min_sharpness)
                opened = wait_for(lambda: open_source(source))
                stream = VideoScorer(
                    opened, scorer, detectors, best_shots=shots, every=every, max_fps=max_fps, min_size=min_size
                )
                stack.callback(stream.close)  # where an output cannot be opened
                if best_shots is not None:
                    folder = ShotFolder(best_shots)
                    stack.callback(folder.close)
                records = None if out is None else open_records(out)
                if records is not None:
                    stack.callback(records.close)
                recording = None if save is None else VideoFile(save, stream.fps)
                if recording is not None:
                    stack.callback(recording.close)
                if serve is not None:
                    page = Page(stream.name, lambda: stream.counters, serve, host, Overlay(scorer.card.score_range))
                    stack.callback(page.close)
                    print_plain(Console(stderr=True), f"page: {page.address}")
                stack.callback(lambda: _summarise(stream.counters))
                stack.callback(stream.close)  # first of all: it flushes the tracks to the others
                stack.callback(signals.close)
                signals.watch(stream)
                with _status(stream) as status:
                    for result in stream:
                        if records is not None:
                            records.write(result)
                        if page is not None:
                            page.show(result)
                        if recording is not None or window is not None:
                            overlay.note(result)
                            drawn = overlay.draw(result, stream.counters)
                            if recording is not None:
                                recording.write(drawn, result.timestamp)
                            if window is not None and not window(drawn):
                                break
                        status()
        except KeyboardInterrupt:
            interrupted = True
        if interrupted:
            print_plain(Console(stderr=True), "interrupted: what was scored until then is written", "yellow")
            raise typer.Exit(INTERRUPTED)


def _quieten_libraries() -> None:
    """Keep OpenCV, FFmpeg and GStreamer from writing addresses, with passwords, unless their variables are set."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("GST_DEBUG", "0")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _check_outputs(source: str, model: str, *, out: Path | None, save: Path | None, best_shots: Path | None) -> None:
    """Refuse outputs that would destroy something, before there is work to lose.

    Raises:
        InputError: One is the source, the model or another output, is there already, or has a wrong suffix.
    """
    read = find_file(source)
    if (
        best_shots is not None
        and read is not None
        and read.is_dir()
        and best_shots.is_dir()
        and best_shots.samefile(read)
    ):
        raise InputError(f"--best-shots {best_shots} is the folder of the frames, {source}; choose another folder")
    if out is not None:
        check_records(out)
    if save is not None:
        check_video(save)
    lines = None if best_shots is None else best_shots / SHOT_LINES
    inputs = [Path(model), *([read] if read is not None else [])]
    check_outputs({"--out": out, "--save": save, "--best-shots": lines}, inputs)


def _window(stack: ExitStack) -> Callable[[NDArray[np.uint8]], bool]:
    """A window; gives the function that shows a frame and tells whether to go on."""
    try:
        cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL)
    except cv2.error as error:
        raise InputError(
            f"--show needs windows, which this OpenCV ({cv2.__version__}) is built without; use --serve PORT and a "
            "browser, or: pip uninstall opencv-python-headless && pip install opencv-python"
        ) from error
    stack.callback(cv2.destroyAllWindows)

    def show(image: NDArray[np.uint8]) -> bool:
        cv2.imshow(WINDOW, image)
        return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)

    return show


@contextmanager
def _status(stream: VideoScorer) -> Iterator[Callable[[], None]]:
    """A line of counters on stderr, twice a second; on a terminal only."""
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


def _line(counters: Counters) -> str:
    return (
        f"{counters.fps_in:.1f} frames/s in, {counters.fps_scored:.1f} scored; {counters.dropped} dropped; latency "
        f"{counters.latency_p50 * 1000:.0f} ms, p95 {counters.latency_p95 * 1000:.0f} ms; {counters.faces} faces; "
        f"{counters.reconnects} reconnects"
    )


def _summarise(counters: Counters) -> None:
    rest = ", ".join(
        f"{value} {name}"
        for name in ("skipped", "dropped", "corrupt", "stale", "blank")
        if (value := getattr(counters, name))
    )
    unscored = f" ({counters.unscored} more without a score: the model gave no number)" if counters.unscored else ""
    print_plain(
        Console(stderr=True),
        f"{counters.captured} frames{f' ({rest})' if rest else ''}, {counters.scored} of them scored, "
        f"{counters.faces} faces{unscored}; latency {counters.latency_p50 * 1000:.0f} ms, "
        f"p95 {counters.latency_p95 * 1000:.0f} ms; {counters.reconnects} reconnects",
    )

"""fiqa video: score a stream live."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.status import Status

from sdk.console import INTERRUPTED, error_exits, print_plain
from sdk.errors import InputError
from sdk.scorer import QualityScorer
from sdk.video.best_shot import BestShots, TrackShots
from sdk.video.files import ShotFolder, VideoFile, open_records
from sdk.video.meter import Counters
from sdk.video.overlay import Overlay
from sdk.video.page import Page
from sdk.video.scorer import DETECTION_SIDE, VideoScorer, default_detectors

WINDOW = "fiqa video (q ends)"


def video(
    source: Annotated[
        str,
        typer.Argument(
            help="Index of a camera, video file, folder of frames, rtsp:// or http:// URL, GStreamer pipeline, "
            "Jetson preset (csi:0, usb:0, nvdec:rtsp://...)."
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

    Exit codes: 0 the end was reached, or SIGTERM; 1 an error, such as a full disk; 2 wrong usage, or no such source;
    130 interrupted. What was written until then is whole, and the tracks that were in sight are written, too.
    """
    interrupted = False
    with error_exits(), ExitStack() as stack:
        window = _window(stack) if show else None
        scorer = stack.enter_context(QualityScorer(model, device))
        overlay = Overlay(scorer.card.score_range)
        folder = None if best_shots is None else ShotFolder(best_shots)
        if folder is not None:
            stack.callback(folder.close)
        pages: list[Page] = []

        def tell(word: TrackShots) -> None:
            if folder is not None:
                folder.write(word)
            for page in pages:
                page.add(word)

        shots = BestShots(tell, count=keep, threshold=threshold, floor=floor, min_sharpness=min_sharpness)
        stream = VideoScorer(
            source,
            scorer,
            default_detectors(detection_side, detector),
            best_shots=shots,
            every=every,
            max_fps=max_fps,
            min_size=min_size,
        )
        records = None if out is None else open_records(out)
        if records is not None:
            stack.callback(records.close)
        recording = None if save is None else VideoFile(save, stream.fps)
        if recording is not None:
            stack.callback(recording.close)
        if serve is not None:
            pages.append(Page(stream.name, lambda: stream.counters, serve, host, Overlay(scorer.card.score_range)))
            stack.callback(pages[0].close)
            print_plain(Console(stderr=True), f"page: {pages[0].address}")
        stack.callback(lambda: _summarise(stream.counters))
        stack.enter_context(stream)  # closed first: it flushes the tracks to the others
        with _sigterm(stream.stop), _status(stream) as status:
            try:
                for result in stream:
                    if records is not None:
                        records.write(result)
                    if pages:
                        pages[0].show(result)
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
def _sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """End the stream in order when the system asks for it."""
    before: Any = signal.signal(signal.SIGTERM, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
    print_plain(
        Console(stderr=True),
        f"{counters.captured} frames{f' ({rest})' if rest else ''}, {counters.scored} of them scored, "
        f"{counters.faces} faces; latency {counters.latency_p50 * 1000:.0f} ms, "
        f"p95 {counters.latency_p95 * 1000:.0f} ms; {counters.reconnects} reconnects",
    )

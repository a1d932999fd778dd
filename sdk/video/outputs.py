"""All outputs of `fiqa video`: results, video with overlay, best shots, page, window."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import InputError
from sdk.files import check_outputs
from sdk.scorer import QualityScorer
from sdk.video.best_shot import TrackShots
from sdk.video.frames import FrameResult
from sdk.video.overlay import Overlay
from sdk.video.reading.sources import find_file
from sdk.video.video_scorer import VideoScorer
from sdk.video.web.content import About
from sdk.video.web.page import Page
from sdk.video.window import Window
from sdk.video.writing.records import Records, check_records, open_records
from sdk.video.writing.shot_folder import SHOT_LINES, ShotFolder
from sdk.video.writing.video_file import VideoFile, check_video


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """Choice of what is written and shown of a stream; None for what is not.

    Attributes:
        out: Table of results.
        save: Video with overlay.
        best_shots: Folder of best shots.
        show: Whether a window is opened.
        serve: Port of the page.
        host: Address of the page.
    """

    out: Path | None
    save: Path | None
    best_shots: Path | None
    show: bool
    serve: int | None
    host: str

    def check(self, source: str, model: str) -> None:
        """Refuse outputs that would destroy something, before there is work to lose.

        Raises:
            InputError: One is the source, the model or another output, is there already, or has an unknown suffix.
        """
        read = find_file(source)
        if read is not None and self.best_shots is not None and _are_one_folder(self.best_shots, read):
            raise InputError(
                f"--best-shots {self.best_shots} is the folder of the frames, {source}; choose another folder"
            )
        if self.out is not None:
            check_records(self.out)
        if self.save is not None:
            check_video(self.save)
        lines = None if self.best_shots is None else self.best_shots / SHOT_LINES
        inputs = [Path(model), *([read] if read is not None else [])]
        check_outputs({"--out": self.out, "--save": self.save, "--best-shots": lines}, inputs)


class Outputs:
    """Write and show the results of a stream.

    A window is opened at once, the rest by `open`.

    Args:
        settings: Which outputs there are.
        scorer: Scores the faces.

    Raises:
        InputError: This OpenCV has no windows.
    """

    def __init__(self, settings: OutputSettings, scorer: QualityScorer) -> None:
        self._settings, self._scorer = settings, scorer
        self._stack = ExitStack()
        self._stream: VideoScorer | None = None
        self._overlay = Overlay(scorer.card.score_range)
        self._records: Records | None = None
        self._recording: VideoFile | None = None
        self._folder: ShotFolder | None = None
        self._window: Window | None = None
        self.page: Page | None = None
        if settings.show:
            self._window = Window()
            self._stack.callback(self._window.close)

    def open(self, stream: VideoScorer) -> None:
        """Open what is to be written, and serve the page.

        Raises:
            InputError: A place cannot be written, or the port is taken.
        """
        wanted, self._stream = self._settings, stream
        if wanted.best_shots is not None:
            self._folder = ShotFolder(wanted.best_shots)
            self._stack.callback(self._folder.close)
        if wanted.out is not None:
            self._records = open_records(wanted.out)
            self._stack.callback(self._records.close)
        if wanted.save is not None:
            self._recording = VideoFile(wanted.save, stream.fps)
            self._stack.callback(self._recording.close)
        if wanted.serve is not None:
            card = self._scorer.card
            about = About(stream.name, card.name, card.score_range, self._scorer.threshold)
            self.page = Page(about, lambda: stream.counters, wanted.serve, wanted.host)
            self._stack.callback(self.page.close)

    def add_shots(self, found: TrackShots) -> None:
        """Take in the shots of a track."""
        if self._folder is not None:
            self._folder.write(found)
        if self.page is not None:
            self.page.add(found)

    def add(self, result: FrameResult) -> bool:
        """Take in a frame; returns False when the user wants to end.

        Raises:
            OutputError: A disk is full.
        """
        if self._records is not None:
            self._records.write(result)
        if self.page is not None:
            self.page.show(result)
        if self._stream is None or (self._recording is None and self._window is None):
            return True
        self._overlay.note(result)
        drawn = self._overlay.draw(result, self._stream.counters)
        if self._recording is not None:
            self._recording.write(drawn, result.timestamp)
        return self._window is None or self._window.show(drawn)

    def close(self) -> None:
        """Finish all files, and close the page and the window."""
        self._stack.close()


def _are_one_folder(one: Path, other: Path) -> bool:
    return one.is_dir() and other.is_dir() and one.samefile(other)

"""A run over many files: what earlier runs left, what is still to be scored, and what becomes of it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from sdk.results_io.earlier import EarlierDecisions
from sdk.results_io.scored_face import ScoredFace
from sdk.results_io.scoring import cut_picture, map_files, score_files
from sdk.results_io.table import Table
from sdk.results_io.tally import Tally
from sdk.scorer import QualityScorer

GRACE = 1.0
"""Seconds in which a Parquet table must be made after a signal."""


class ScoreRun:
    """Score files into a table and a tally, and go on where an earlier run ended.

    Args:
        files: All files of the run.
        table: Where their rows go; None for a run without a table.
        tally: Adds them up.
        resume: Go on with what is in the table.

    Attributes:
        earlier: Number of files that were in the table already.
        left: Number of files that are still to be scored.
        decisions: What the rows of earlier runs say of their threshold and calibration.
        pictures: Pictures of faces on the page that an earlier run scored.
        stopped: Whether the user or the system ended the run.
        made: Whether the table is finished.

    Raises:
        InputError: The table that is there is no table of scores.
    """

    def __init__(self, files: Sequence[Path], table: Table | None, tally: Tally, resume: bool) -> None:
        self._files, self.table, self.tally = files, table, tally
        self.pictures: dict[ScoredFace, bytes] = {}
        self.stopped, self.made = False, True
        self._done: Counter[str] = Counter()
        self.decisions = EarlierDecisions()
        if resume and table is not None:
            for faces in table.earlier():
                tally.add(faces)
                for face in faces:
                    self.decisions.add(face)
                self._done[str(faces[0].path)] += 1
        self.earlier = tally.files
        self.left = sum(1 for _ in self._files_left()) if self._done else len(files)

    def score(
        self, scorer: QualityScorer, tell: Callable[[Sequence[ScoredFace]], None], *, aligned: bool, pictures: bool
    ) -> None:
        """Score what is left, until the end or until a signal.

        Args:
            scorer: Scores the files.
            tell: Called with the rows of each file, after the table has them.
            aligned: Each file is an aligned crop.
            pictures: Make the pictures of the page.

        Raises:
            FiqaError: The run cannot go on; what was scored is kept.
        """
        results = score_files(scorer, self._files_left(), aligned=aligned, thumbnails=pictures)
        try:
            with closing(results):
                for faces in results:
                    if self.table is not None:
                        self.table.add(faces)
                    self.tally.add(faces)
                    tell(faces)
            if pictures:
                self._cut_pictures(scorer)
            self.finish()
        except KeyboardInterrupt:
            self.stopped = True
            self.finish(GRACE)

    def finish(self, seconds: float | None = None) -> None:
        """Finish the table, within a time."""
        self.made = self.table is None or self.table.finish(seconds)

    def close(self) -> None:
        """Close the table."""
        if self.table is not None:
            self.table.close()

    def _files_left(self) -> Iterator[Path]:
        done = self._done.copy()
        for path in self._files:
            name = self.table.name(path) if done and self.table is not None else ""
            if done[name]:
                done[name] -= 1
            else:
                yield path

    def _cut_pictures(self, scorer: QualityScorer) -> None:
        """Make the pictures of faces that are on the page and were scored by an earlier run."""
        missing = [face for _, face in self.tally.ranked() if not face.thumbnail]
        if not missing or self.table is None:
            return
        wanted = {str(face.path) for face in missing}
        paths = {name: path for path in self._files if (name := self.table.name(path)) in wanted}
        faces = [face for face in missing if str(face.path) in paths]
        cut = map_files(scorer.threads, lambda face: cut_picture(scorer, paths[str(face.path)], face), faces)
        with closing(cut):
            for face, picture in zip(faces, cut, strict=True):
                self.pictures[face] = picture

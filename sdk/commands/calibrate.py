"""fiqa calibrate: what scores mean on one's own pictures, and from which score on a face is good enough."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from sdk.commands.console import INTERRUPTED, error_exits, missing_packages, print_plain, progress_bar, say
from sdk.commands.options import (
    RGB,
    DetectorOption,
    DeviceOption,
    ModelOption,
    ThreadsOption,
    rgb_deviations,
    rgb_numbers,
    rgb_option,
)  # fmt: skip
from sdk.errors import InputError
from sdk.files import check_outputs, check_place, check_suffix
from sdk.stopping import stoppable
from sdk.text import count, path_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sdk.calibrating.judge import Judge
    from sdk.calibrating.pictures import Embed
    from sdk.decision.calibrate import Fitted
    from sdk.decision.calibration import Threshold
    from sdk.scorer import QualityScorer

SHOWN = 5
"""Pictures that were left out, of which a line is printed."""

Faces = Annotated[
    Path, typer.Argument(help="Folder with a folder a person, or manifest (.csv) with the columns path and identity.")
]
Fr = Annotated[
    str | None,
    typer.Option(
        help="Face-recognition model that decides which comparisons match: .onnx file, or name in the catalogue."
    ),
]
Embeddings = Annotated[
    Path | None, typer.Option(help="Instead of it: embeddings of the pictures in their order (.npy).")
]
Fmr = Annotated[float, typer.Option(help="False-match rate of the face-recognition model's threshold.")]
Fnmr = Annotated[
    list[float] | None,
    typer.Option(
        help="False-non-match rate among accepted faces; twice for the points enrol and identify.",
        show_default="0.01 and 0.05",
    ),
]
Discard = Annotated[
    list[float] | None,
    typer.Option(help="Share of faces to turn away, where no people are known; twice for both points."),
]
Out = Annotated[Path, typer.Option(help="Calibration to write (.json).")]
Picture = Annotated[
    Path | None, typer.Option(help="Picture to write (.png, .svg): curve, scores, thresholds, error versus discard.")
]
Aligned = Annotated[bool, typer.Option("--aligned", help="Take each picture as an aligned 112 x 112 face.")]
OF_CARD = "that of its card, else"
Colour = Annotated[
    str | None, typer.Option(help="Order of the channels that --fr takes: RGB or BGR.", show_default=f"{OF_CARD} RGB")
]
Mean = Annotated[
    RGB | None, rgb_option("Mean that --fr subtracts, for pixels in [0, 1]", rgb_numbers, f"{OF_CARD} 0.5")
]
Std = Annotated[RGB | None, rgb_option("Deviation that --fr divides by", rgb_deviations, f"{OF_CARD} 0.5")]


def calibrate(
    faces: Faces,
    out: Out,
    fr: Fr = None,
    embeddings: Embeddings = None,
    fmr: Fmr = 1e-3,
    fnmr: Fnmr = None,
    discard: Discard = None,
    picture: Picture = None,
    model: ModelOption = "fiqa-nano",
    detector: DetectorOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    aligned: Aligned = False,
    fr_colour: Colour = None,
    fr_mean: Mean = None,
    fr_std: Std = None,
) -> None:
    """Measure what scores mean on your pictures: a match rate for each score, and thresholds with their intervals.

    Of several faces in a picture the one near its middle counts. With --discard no people are needed, and only
    thresholds come of it.

    Exit codes: 0 done; 1 an error; 2 a wrong path or option; 130 stopped.
    """
    with error_exits(), stoppable("stopped", code=INTERRUPTED, patience=None):
        if sum(given is not None for given in (fr, embeddings, discard or None)) != 1:
            raise InputError("wanted one of --fr, --embeddings and --discard: what is to decide the thresholds?")
        if discard and fnmr:
            raise InputError("--fnmr needs --fr or --embeddings; --discard knows no matches")
        check_suffix("--out", out, (".json",))
        check_place(out)
        if picture is not None:
            check_suffix("--picture", picture, (".png", ".svg"))
            check_place(picture)
        settings = _Settings(faces, fr, embeddings, fmr, tuple(fnmr or (0.01, 0.05)), tuple(discard or ()), aligned)
        judge_input = _input(fr_colour, fr_mean, fr_std)
        read = [Path(path) for path in (fr, embeddings) if path]
        check_outputs({"--out": out, "--picture": picture}, read)
        with missing_packages("calibrate"):
            from sdk.calibrating.judge import Judge
            from sdk.detection.face_detector import FaceDetector
            from sdk.models.loading import load_model
            from sdk.scorer import QualityScorer

            judge = None if fr is None else Judge(fr, judge_input)
            finder = None if detector is None or aligned else FaceDetector(detector)
            with QualityScorer(model, device, threads, detector=finder) as scorer:
                fitted = _fit(settings, scorer, load_model(model).sha256, judge)
            fitted.calibration.write(out)
            if picture is not None:
                from sdk.calibrating.plot import draw

                draw(fitted, picture)
        _show(fitted, out)


@dataclass(frozen=True, slots=True)
class _Settings:
    """The options of `fiqa calibrate` that say what is measured; see its help."""

    faces: Path
    fr: str | None
    embeddings: Path | None
    fmr: float
    fnmr: tuple[float, ...]
    discard: tuple[float, ...]
    aligned: bool


def _fit(settings: _Settings, scorer: "QualityScorer", digest: str, judge: "Judge | None") -> "Fitted":
    from sdk.calibrating.pictures import check_names, measure, read_pictures
    from sdk.decision.calibrate import Targets, calibrate, calibrate_discard, check_people, check_shares

    pictures, targets = read_pictures(settings.faces), Targets(settings.fmr, settings.fnmr)
    if settings.discard:
        check_shares(len(pictures.paths), settings.discard)
    else:
        check_names(pictures, settings.faces)
        check_people(pictures.people, settings.fmr)
    embed = _embed(settings.embeddings, len(pictures.paths), judge)
    with progress_bar("faces", len(pictures.paths)) as advance:
        found, left_out = measure(pictures, scorer, embed, settings.aligned, advance)
    for line in left_out[:SHOWN]:
        say(f"left out: {line}", "yellow")
    if len(left_out) > SHOWN:
        say(f"left out: {len(left_out) - SHOWN} more", "yellow")
    own = (scorer.card.name, digest)
    if settings.discard:
        return calibrate_discard(own, found.scores, settings.discard)
    if settings.embeddings is not None:
        return calibrate(own, (settings.embeddings.stem, ""), found, targets)
    assert judge is not None
    return calibrate(own, (judge.name, judge.sha256), found, targets)


def _embed(embeddings: Path | None, pictures: int, judge: "Judge | None") -> "Embed | None":
    """Return what embeds the pictures: the judge, or the rows of a file."""
    if judge is not None:
        return lambda _, crop: judge.embed(crop[None])[0]
    if embeddings is None:
        return None
    from sdk.decision.vectors import are_vectors
    from sdk.files.arrays import open_npy

    vectors = open_npy(embeddings, ("f", (None, None)), "give embeddings, a row for each picture")
    if len(vectors) != pictures:
        raise InputError(
            f"{embeddings} holds {vectors.shape}, and there are {count('picture', pictures)}; wanted a row of numbers "
            "for each picture, in the order of the manifest, or of the paths in the folder: give that, or --fr"
        )
    if vectors.shape[1] < 2:
        raise InputError(f"{embeddings} holds {vectors.shape}; wanted embeddings of two numbers or more")

    def embed(row: int, _: object) -> "NDArray[np.float32]":
        with np.errstate(over="ignore"):
            vector = np.asarray(vectors[row], np.float32)
        if not are_vectors(vector[None])[0]:
            raise InputError(
                f"row {row} of {embeddings} (from 0) is all zero or holds what is no number, and its picture has a "
                "face; wanted an embedding: embed the picture again, or leave both out"
            )
        return vector

    return embed


def _input(colour: str | None, mean: RGB | None, std: RGB | None) -> dict[str, Any]:
    """Return what is given of the input of --fr, see `sdk.calibrating.judge.Judge`."""
    if colour is not None and colour.upper() not in ("RGB", "BGR"):
        raise InputError(f"--fr-colour is {colour}, wanted RGB or BGR")
    values = {"colour": colour and colour.upper(), "mean": mean, "std": std}
    return {name: value for name, value in values.items() if value}


def _show(fitted: "Fitted", out: Path) -> None:
    console, found = Console(), fitted.calibration
    judged = f"; {found.judge} decides, FMR {found.fmr:g}" if found.judge else ""
    print_plain(console, f"{found.model}, {count('face', found.images)}{judged}")
    if found.judge:
        failed = found.errors / found.comparisons
        print_plain(
            console,
            f"{count('person', found.people, 'people')} with several pictures, {found.comparisons} comparisons, "
            f"{found.errors} of them fail (FNMR {failed:.2%})",
        )
    if found.scores:
        print_plain(console, "score    quality")
        for place in np.linspace(0, len(found.scores) - 1, 8).round().astype(int):
            print_plain(console, f"{found.scores[place]:7.3f} {100 * found.rates[place]:7.0f}")
    if fitted.outcomes is not None:
        lowest = float(fitted.outcomes.score.min())
        below = f"; below it quality is at most {found.quality(lowest)}" if found.scores else ""
        print_plain(console, f"lowest score compared: {lowest:.3f}{below}")
    for threshold in found.thresholds:
        print_plain(console, _line(threshold), "green")
    for text in found.undecided:
        print_plain(console, f"undecided: {text}", "yellow")
    print_plain(console, f"written to {path_text(out)}")


def _line(threshold: "Threshold") -> str:
    what = f"FNMR {threshold.target:g}" if threshold.by == "fnmr" else f"the worst {threshold.target:.1%}"
    pairs = "" if threshold.comparisons is None else f" and {threshold.comparisons:.1%} of the comparisons"
    away = f"turns away {threshold.faces:.1%} of the faces{pairs}"
    return f"{threshold.name} ({what}): score {threshold.score:.3f} ({threshold.interval}) {away}"

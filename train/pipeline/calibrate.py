"""The calibration of a recipe's network: what its scores mean, and how far that holds for other people."""

import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdk.decision.calibrate import Measured, Targets, calibrate
from sdk.decision.calibration import Calibration
from sdk.decision.fitting import Outcomes, calibration_error, reliability
from sdk.errors import InputError
from sdk.files import make_folder, write_file, write_json
from sdk.models.card import METADATA_KEY
from train.data.embeddings import open_vectors
from train.data.manifest import read_manifest
from train.evaluation.plan import TEACHER, EvaluationPlan, embed_judges, file_digest
from train.evaluation.sets import SETS, set_rows
from train.networks import QualityNetwork, load_network, save_network
from train.pipeline.files import Files

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CalibrateSettings:
    """The section `calibrate` of a recipe; without it the card gets no calibration.

    Attributes:
        judge: Name of a judge of the section `evaluate`: the face-recognition model that decides which comparisons
            match.
        set: Images of the first of the splits: see `train.evaluation.sets.SETS`.
        fmr: False-match rate of the judge's threshold.
        fnmr: False-non-match rates of the operating points `enrol` and `identify`.
    """

    judge: str = ""
    set: str = "mixed"
    fmr: float = 1e-3
    fnmr: tuple[float, ...] = (0.01, 0.05)

    def __post_init__(self) -> None:
        if self.set not in SETS:
            raise InputError(f"calibrate.set is {self.set!r}, wanted one of: {', '.join(SETS)}")
        Targets(self.fmr, self.fnmr)

    def check(self, plan: EvaluationPlan) -> None:
        """Refuse a judge that the plan does not have."""
        if self.judge not in plan.judges:
            known = ", ".join(plan.judges)
            raise InputError(f"calibrate.judge is {self.judge!r}, wanted a name of evaluate.judges: {known}")


@dataclass(frozen=True, slots=True)
class Reliability:
    """What a curve promises people that it was not fitted to, and what a judge finds.

    Attributes:
        judge: Name of the judge.
        outcomes: Comparisons of both halves of the people.
        promised: (M,) match rates by the curve of the other half.
    """

    judge: str
    outcomes: Outcomes
    promised: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error, 10 bins of equally many comparisons."""
        return calibration_error(self.promised, self.outcomes)


def calibrate_network(
    settings: CalibrateSettings, plan: EvaluationPlan, network: str, files: Files, name: str = ""
) -> None:
    """Calibrate on the people of the plan's first split, and write the calibration into the card of the weights.

    The folder `calibration` gets `calibration.json`, the part of the card, and `reliability.md` and `.png`: half of the
    people fits a curve, the other half checks it, and the other way round; by the same judge, and by the others. Each
    half fixes the judge's threshold by its own non-mated comparisons, so other comparisons may fail than in the card.
    Where too few comparisons of a half fail for a curve, `reliability.md` says that, and there is no picture.

    Args:
        settings: See `CalibrateSettings`.
        plan: The section `evaluate`.
        network: The network's variant.
        files: The run's files.
        name: Name of the model, where it has one of its own: the column of its scores.

    Raises:
        InputError: See `sdk.decision.calibrate.calibrate`.
    """
    name = name or network
    judges = embed_judges(plan, files.scores, files.scores_embeddings, files.folder)
    found_by = {
        judge: read_measured(files, name, (settings.set, plan.splits[0]), path) for judge, path in judges.items()
    }
    people = np.array(found_by[settings.judge].people)
    targets = Targets(settings.fmr, settings.fnmr)

    def fit(judge: str, part: NDArray[np.bool_]) -> tuple[Calibration, Outcomes]:
        all_of = found_by[judge]
        assert all_of.embeddings is not None
        measured = Measured(all_of.scores[part], people[part].tolist(), all_of.embeddings[part])
        source = plan.judges[judge]
        sha256 = "" if source == TEACHER or ":" in source else file_digest(Path(source))
        fitted = calibrate((name, ""), (judge or TEACHER, sha256), measured, targets)
        assert fitted.outcomes is not None
        return fitted.calibration, fitted.outcomes

    found = fit(settings.judge, np.ones(len(people), bool))[0]
    names = np.unique(people)
    first = np.isin(people, np.random.default_rng(0).permutation(names)[::2])
    curves = [fit(settings.judge, ~half)[0] for half in (first, ~first)]
    if without := [curve for curve in curves if not curve.scores]:
        logger.warning("reliability is not measured: half of the people: %s", without[0].undecided[0])
    checked = []
    for judge in [] if without else sorted(plan.judges, key=lambda name: name != settings.judge):
        parts = [fit(judge, half)[1] for half in (first, ~first)]
        promised = [curve.match_rates(outcomes.score) for curve, outcomes in zip(curves, parts, strict=True)]
        both = Outcomes(
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.matched for part in parts]),
            np.concatenate([parts[0].person, parts[0].people + parts[1].person]),
        )
        checked.append(Reliability(judge or TEACHER, both, np.concatenate(promised)))  # type: ignore[arg-type]
        logger.info("calibration error by %s: %.3f of %d comparisons", judge, checked[-1].error, len(both.score))
    folder = files.folder / "calibration"
    make_folder(folder)
    write_json(folder / "calibration.json", found.to_dict())
    if checked:
        _write(checked, folder)
    else:
        write_file(folder / "reliability.md", f"not measured: half of the people: {without[0].undecided[0]}\n".encode())
    _into_card(found, network, files)


def read_measured(files: Files, name: str, images: tuple[str, str], vectors: Path) -> Measured:
    """Return scores, people and embeddings of images of a run.

    Args:
        files: The run's files.
        name: Column of the scores.
        images: A set, see `train.evaluation.sets.SETS`, and the split that its people are of.
        vectors: The embeddings by a judge (.npy), a row a row of `files.scores`.

    Raises:
        InputError: The set has no image of that split.
    """
    manifest = read_manifest(files.scores)
    rows = set_rows(manifest, *images)
    people = [manifest.identities[row] for row in rows]
    return Measured(manifest.numbers(name)[rows], people, np.asarray(open_vectors(vectors)[rows], np.float32))


def _into_card(found: Calibration, name: str, files: Files) -> None:
    from safetensors import safe_open

    with safe_open(files.weights, "pt") as file:
        card = json.loads((file.metadata() or {})[METADATA_KEY])
    network = load_network(name, files.weights)
    assert isinstance(network, QualityNetwork)
    card["calibration"] = found.to_dict()
    save_network(network, files.weights, {METADATA_KEY: json.dumps(card)})


def _write(checked: list[Reliability], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    lines = ["| judge | comparisons | fail | calibration error |", "| --- | --- | --- | --- |"]
    figure, axes = plt.subplots(
        1, len(checked), figsize=(3.6 * len(checked), 3.6), squeeze=False, sharey=True, layout="constrained"
    )
    for place, (part, axis) in enumerate(zip(checked, axes[0], strict=True)):
        outcomes = part.outcomes
        lines.append(f"| {part.judge} | {len(outcomes.score)} | {outcomes.errors} | {part.error:.3f} |")
        promised, real, _ = 100 * reliability(part.promised, outcomes).T
        axis.plot((0, 100), (0, 100), color="#999999", linewidth=1)
        axis.plot(promised, real, "o-", color="#1f3f66")
        kind = "same judge" if place == 0 else "another judge"
        axis.set(xlabel="quality (promised match rate, %)", title=f"{part.judge}: {kind}", xlim=(0, 100), ylim=(0, 100))
    axes[0, 0].set_ylabel("comparisons that match, %")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    plt.close(figure)
    write_file(folder / "reliability.md", ("\n".join(lines) + "\n").encode())
    write_file(folder / "reliability.png", content.getvalue())

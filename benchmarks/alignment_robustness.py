r"""How much quality scores, and the EDC made of them, change when a face is aligned a little differently.

    export FIQA_MODELS=DATA/models      # YuNet
    python benchmarks/alignment_robustness.py runs/nano/faces/labels.parquet --embeddings runs/nano/embeddings.npy \
        --images runs/nano/faces/images/lfw --landmarks DATA/lfw_landmarks.npz --out runs/robustness \
        --models plain=runs/nano/weights.safetensors aikd=runs/nano-aikd/weights.safetensors

Faces of the test people are cut from their source images anew: on their landmarks moved by a uniform shift of up to 0
to 6 pixels of the source image along each axis, and on landmarks that YuNet finds in the image at another scale. The
judge's embeddings stay those of the aligned faces. Models are names of the catalogue, `.onnx` files or our checkpoints.

Of each model, set and alignment: `change`, the mean absolute change of the score, in deviations of the scores of
aligned faces; `spearman`, the rank correlation with them; `pauc` at FMR 1e-3 and a discard rate of 0.2, and
`difference`, what it is more than that of aligned faces, with the 95 % interval of a bootstrap over people.
`crop_pixels` is how far the landmarks lie from where they should, on average, in the crop.
"""

import argparse
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdk import FaceDetector, QualityScorer
from sdk.alignment import similarity_transform
from sdk.commands.console import progress_bar
from sdk.decision.comparisons import Pairs, mated_pairs, non_mated_pairs
from sdk.errors import ModelError
from sdk.images.decoding import load_image
from train.data.embeddings import open_embeddings
from train.data.manifest import Manifest, read_manifest, write_table
from train.data.prepare import PrepareSettings
from train.data.source_images import SourceFace, source_faces
from train.data.sources.source import Source
from train.degradations.landmarks import perturb
from train.evaluation.curves import EvaluationSettings, evaluate_set
from train.evaluation.sets import set_rows
from train.labelling.network_scores import NetworkScores
from train.networks import QualityNetwork, get_variant, identify, load_network, read_state

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Scorer = Callable[[NDArray[np.uint8]], NDArray[np.floating[Any]]]
Points = NDArray[np.float64]

SETS = ("clean", "mixed")
RATE = 0.2
"""Discard rate of the pAUC."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """A way of aligning: its name, the noise in source pixels (NaN for a detector), and the landmarks of each row."""

    name: str
    noise: float
    landmarks: dict[int, Points]


def load_scorer(model: str) -> Scorer:
    """Scores of uint8 BGR crops (N, 112, 112, 3) by a model of the SDK or a checkpoint."""
    if not model.endswith(".safetensors"):
        return QualityScorer(model, device="cpu", threads=1).score_batch
    name = identify(read_state(Path(model)))
    network = load_network(name or "fiqa-nano", Path(model))
    if name is None or not isinstance(network, QualityNetwork):
        raise ModelError(f"{model} is a checkpoint of {name}, wanted one of a quality network")
    scores = NetworkScores("quality", network, get_variant(name))
    return lambda faces: scores(faces, [""] * len(faces))["quality"]


def noisy(sources: dict[int, SourceFace], pixels: float, seed: int) -> Alignment:
    """Landmarks with noise; the shifts of a face point the same way at every level."""
    moved = {
        row: perturb(source.landmarks, pixels, np.random.default_rng([seed, row])) for row, source in sources.items()
    }
    return Alignment(f"noise {pixels:g} px", pixels, moved)


def detected(sources: dict[int, SourceFace], scale: float, detector: FaceDetector) -> Alignment:
    """Landmarks found in the image at another scale; the true ones where the face is not found."""
    found: dict[Path, Points] = {}
    missed = 0
    with progress_bar(f"detector at {scale:g}", len(sources)) as advance:
        for source in sources.values():
            if source.path not in found:
                size = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
                image = cv2.resize(load_image(source.path), None, fx=scale, fy=scale, interpolation=size)
                faces = [np.asarray(face.landmarks, np.float64) / scale for face in detector.detect(image)]
                away = [float(np.linalg.norm(points - source.landmarks, axis=1).mean()) for points in faces]
                eyes = float(np.linalg.norm(source.landmarks[1] - source.landmarks[0]))
                best = int(np.argmin(away)) if away else -1
                same = best >= 0 and away[best] < eyes / 2
                missed += not same
                found[source.path] = faces[best] if same else source.landmarks
            advance(1)
    logging.info("detector at scale %g: %d of %d faces not found", scale, missed, len(found))
    return Alignment(f"detector x{scale:g}", float("nan"), {row: found[item.path] for row, item in sources.items()})


def crop_pixels(sources: dict[int, SourceFace], alignment: Alignment) -> float:
    """Mean distance in the crop between where the true landmarks should lie and where this alignment puts them."""
    distances = []
    for row, source in sources.items():
        points = np.c_[source.landmarks, np.ones(5)]
        wanted, found = (
            points @ similarity_transform(landmarks).T for landmarks in (source.landmarks, alignment.landmarks[row])
        )
        distances.append(np.linalg.norm(found - wanted, axis=1).mean())
    return float(np.mean(distances))


def score(
    sources: dict[int, SourceFace], alignment: Alignment, models: dict[str, Scorer], workers: int
) -> dict[str, dict[int, float]]:
    """Scores by model and row."""
    rows = list(sources)
    chunks = [rows[start : start + 32] for start in range(0, len(rows), 32)]
    scores: dict[str, dict[int, float]] = {name: {} for name in models}

    def cut(chunk: list[int]) -> NDArray[np.uint8]:
        return np.stack([sources[row].cut(alignment.landmarks[row]) for row in chunk])

    with ThreadPoolExecutor(workers) as pool, progress_bar(alignment.name, len(rows)) as advance:
        for chunk, faces in zip(chunks, pool.map(cut, chunks), strict=True):
            for name, model in models.items():
                scores[name].update(zip(chunk, map(float, model(faces)), strict=True))
            advance(len(chunk))
    return scores


def measure(
    manifest: Manifest,
    vectors: NDArray[np.float32],
    alignments: list[Alignment],
    sources: dict[int, SourceFace],
    scores: list[dict[str, dict[int, float]]],
) -> list[dict[str, Any]]:
    """A row for each set, model and alignment; the first alignment is the one that others are compared with."""
    table = []
    for name in SETS:
        rows = set_rows(manifest, name, "test")
        people, embeddings = manifest.select(rows).identities, np.asarray(vectors[rows])
        pairs = Pairs(mated_pairs(people), non_mated_pairs(people))
        off = [crop_pixels({row: sources[row] for row in rows}, alignment) for alignment in alignments]
        for model in scores[0]:
            quality = {
                alignment.name: np.array([found[model][row] for row in rows])
                for alignment, found in zip(alignments, scores, strict=True)
            }
            aligned = next(iter(quality.values()))
            result = evaluate_set(name, pairs, people, embeddings, quality, EvaluationSettings(rates=(RATE,)))
            for index, (alignment, method) in enumerate(zip(alignments, result.points[0].methods, strict=True)):
                change = np.abs(quality[alignment.name] - aligned).mean() / aligned.std()
                pauc, difference = method.pauc[RATE], method.difference[RATE]
                table.append(
                    {
                        "set": name,
                        "model": model,
                        "alignment": alignment.name,
                        "noise": alignment.noise,
                        "crop_pixels": round(off[index], 3),
                        "change": round(float(change), 4),
                        "spearman": round(float(result.spearman[index, 0]), 4),
                        "pauc": round(pauc.value, 4),
                        "difference": round(difference.value, 4),
                        "low": round(difference.low, 4),
                        "high": round(difference.high, 4),
                    }
                )
    return table


def plot(table: list[dict[str, Any]], path: Path) -> None:
    """Change, rank correlation and pAUC over the noise; crosses are the detector at other scales."""
    measures = {
        "change": "mean change (deviations)",
        "spearman": "rank correlation",
        "pauc": f"pAUC@{RATE:g}",
    }
    figure, axes = plt.subplots(len(SETS), len(measures), figsize=(13, 4 * len(SETS)), squeeze=False)
    for line, name in zip(axes, SETS, strict=True):
        for axis, (measure_name, title) in zip(line, measures.items(), strict=True):
            for index, model in enumerate(dict.fromkeys(row["model"] for row in table)):
                part = [row for row in table if row["set"] == name and row["model"] == model]
                for detector in (False, True):
                    shown = [row for row in part if np.isnan(row["noise"]) == detector]
                    axis.plot(
                        [row["crop_pixels"] for row in shown],
                        [row[measure_name] for row in shown],
                        "x" if detector else "o-",
                        color=f"C{index}",
                        label=None if detector else model,
                    )
            axis.set(title=f"{name}: {title}", xlabel="landmarks off by, pixels of the crop")
            axis.grid(alpha=0.3)
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print and write `alignment.csv` and `alignment.png`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="manifest of prepared crops, with its column split")
    parser.add_argument("--embeddings", type=Path, required=True, help="of the judge, a row a row of the manifest")
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="source images, in the order of prepare")
    parser.add_argument("--landmarks", type=Path, nargs="+", required=True, help="their landmarks, a file for each")
    parser.add_argument("--border", default="black", choices=["black", "replicate"], help="of the crops")
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME=FILE", help="or names of the catalogue")
    parser.add_argument("--noise", nargs="*", type=float, default=[1, 2, 3, 4, 5, 6], help="pixels of the source image")
    parser.add_argument("--scales", nargs="*", type=float, default=[1.0, 0.5], help="of the image for the detector")
    parser.add_argument("--copies", type=int, default=1, help="damaged copies of each test image")
    parser.add_argument("--seed", type=int, default=0, help="of the damage and of the noise")
    parser.add_argument("--workers", type=int, default=1, help="threads that cut faces")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    manifest = read_manifest(options.labels)
    vectors = open_embeddings(options.embeddings, manifest, options.labels)
    rows = sorted({int(row) for name in SETS for row in set_rows(manifest, name, "test")})
    prepared = PrepareSettings(test_copies=options.copies, seed=options.seed, border=options.border)
    places = [Source(images, landmarks) for images, landmarks in zip(options.images, options.landmarks, strict=True)]
    sources = source_faces(manifest, rows, places, prepared)
    named = [model.partition("=") for model in options.models]
    models = {name: load_scorer(file or name) for name, _, file in named}
    alignments = [noisy(sources, pixels, options.seed) for pixels in (0.0, *options.noise)]
    detector = FaceDetector("yunet") if options.scales else None
    alignments += [detected(sources, scale, detector) for scale in options.scales if detector]
    scores = [score(sources, alignment, models, options.workers) for alignment in alignments]
    table = measure(manifest, vectors, alignments, sources, scores)
    options.out.mkdir(parents=True, exist_ok=True)
    write_table(pa.Table.from_pylist(table), options.out / "alignment.csv")
    plot(table, options.out / "alignment.png")
    print(f"{'set':6} {'model':16} {'alignment':14} crop px   change  spearman   pAUC  difference (95 %)")
    for row in table:
        print(
            f"{row['set']:6} {row['model']:16} {row['alignment']:14} {row['crop_pixels']:7.2f} {row['change']:8.3f} "
            f"{row['spearman']:9.3f} {row['pauc']:6.3f} "
            f"{row['difference']:+11.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
        )


if __name__ == "__main__":
    main()

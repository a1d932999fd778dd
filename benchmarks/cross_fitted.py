"""Quality of every person's faces by a head that never saw that person.

    fiqa-train recipe fiqa-nano --data DATA --out runs/nano
    python benchmarks/cross_fitted.py fiqa-nano runs/nano
    fiqa-train evaluate runs/nano/faces/cross-fitted.parquet --embeddings runs/nano/cross-fitted.npy \
        --methods cross-fitted,lightqnet,faceqan --sets clean,mixed --out OUT

The test people of a recipe are few. Here all of its people are divided into folds, and those of each fold are scored by
heads that the recipe's first stage (`warm_up`) trained on the labels and embeddings of the other folds' people: a mean
over some seeds. It judges the recipe's labels and head, not the network that was shipped. Each image keeps one of its
damaged copies, as test images have.
"""

import argparse
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from train.data.label_targets import label_column, make_targets
from train.data.manifest import Manifest, read_manifest, write_table
from train.fitting.regressor import RegressorRecipe
from train.fitting.warm_up import warm_up_head
from train.networks import QualityNetwork, create_network
from train.recipes import read_recipe


def main() -> None:
    """Read the recipe's labels and embeddings, write `faces/cross-fitted.parquet` and `cross-fitted.npy`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("run", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    recipe = RegressorRecipe.from_recipe(read_recipe(options.recipe))
    manifest = read_manifest(options.run / "faces" / "labels.parquet")
    used = np.flatnonzero(np.array(manifest.column("split")) != "mislabelled")
    manifest, embeddings = manifest.select(used), np.load(options.run / "embeddings.npy")[used]
    scores = cross_fitted(recipe, manifest, embeddings, options.folds, options.seeds)
    kept = one_copy(manifest)
    table = manifest.select(kept).table.append_column("cross-fitted", pa.array(scores[kept]))
    write_table(table, options.run / "faces" / "cross-fitted.parquet")
    np.save(options.run / "cross-fitted.npy", embeddings[kept])


def cross_fitted(
    recipe: RegressorRecipe, manifest: Manifest, embeddings: NDArray[np.float32], folds: int, seeds: int
) -> NDArray[np.float64]:
    """(N,) scores by heads of other people."""
    clean = np.array([not damage for damage in manifest.column("degradation")])
    people, codes = np.unique(manifest.identities, return_inverse=True)
    fold = (np.random.default_rng(0).permutation(len(people)) % folds)[codes]
    labels, average = label_column(manifest, recipe.method.label), recipe.targets.average
    other = label_column(manifest, average) if average else None
    # A person's targets need no other person's images but for the scale, which no fold can learn from.
    targets = make_targets(labels, embeddings, manifest.identities, clean, recipe.targets, other)
    scores = np.zeros(len(manifest))
    for held in range(folds):
        train, test = fold != held, fold == held
        for seed in range(seeds):
            torch.manual_seed(seed)
            network = create_network(recipe.network)
            assert isinstance(network, QualityNetwork)
            warm_up_head(network, embeddings[train], targets[train], replace(recipe.warm_up, seed=seed))
            with torch.no_grad():
                scores[test] += network.mlp(torch.from_numpy(embeddings[test])).squeeze(-1).numpy() / seeds
    return scores


def one_copy(manifest: Manifest) -> NDArray[np.int64]:
    """Rows of all clean images and of one damaged copy of each, drawn by the image's name."""
    copies: dict[str, list[int]] = {}
    columns = zip(manifest.column("original"), manifest.column("degradation"), strict=True)
    for row, (original, damage) in enumerate(columns):
        if damage:
            copies.setdefault(original, []).append(row)
    dropped: list[int] = []
    for original, rows in copies.items():
        chosen = np.random.default_rng([7, zlib.crc32(original.encode())]).integers(len(rows))
        dropped += [row for place, row in enumerate(rows) if place != chosen]
    return np.setdiff1d(np.arange(len(manifest)), dropped)


if __name__ == "__main__":
    main()

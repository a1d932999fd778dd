"""The faces of docs/results.md: the test people of a prepared manifest, without the images under a wrong name.

    fiqa-train prepare DATA/lfw.tar --landmarks DATA/lfw_landmarks.npz --copies 0 --misaligned 1 --out OUT/faces
    python benchmarks/results_faces.py OUT/faces mobilefacenet128.safetensors

writes `test.parquet` beside the manifest: the images that any of the page's sets takes. Wrong names are found among the
undamaged images of all people, see `train/data/mislabelled.py`.
"""

import argparse
from pathlib import Path

import numpy as np

from train.data.manifest import read_manifest, write_table
from train.data.mislabelled import find_mislabelled
from train.evaluation.sets import set_rows
from train.labelling.embedder import embed_manifest
from train.networks.recognition import load_recognition_model

SETS = ("clean", "mixed", "misaligned")


def main() -> None:
    """Read `manifest.csv` of a folder, write `test.parquet` and the undamaged images' embeddings beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("weights", type=Path)
    options = parser.parse_args()
    manifest = read_manifest(options.faces / "manifest.csv")
    clean = manifest.select(np.flatnonzero([not damage for damage in manifest.column("degradation")]))
    network = load_recognition_model("mobilefacenet128", options.weights)
    embeddings = embed_manifest(clean, network, options.faces / "clean.npy")
    wrong = {clean.paths[row] for row in np.flatnonzero(find_mislabelled(embeddings, clean.identities))}
    print(f"{len(wrong)} images carry another person's name and are left out: {', '.join(sorted(wrong))}")
    named = manifest.select([row for row, original in enumerate(manifest.column("original")) if original not in wrong])
    used = np.unique(np.concatenate([set_rows(named, name, "test") for name in SETS]))
    write_table(named.select(used).table, options.faces / "test.parquet")


if __name__ == "__main__":
    main()

"""Embeddings of a second face-recognition model, to judge quality cross-model.

    pip install dlib-bin face-recognition-models 'setuptools<80'
    python benchmarks/dlib_embeddings.py scores.parquet dlib.npy
    fiqa-train evaluate scores.parquet --embeddings dlib.npy --methods fiqa-nano,lightqnet --sets clean,mixed --out OUT

The model is dlib's ResNet of 2017 (public domain), 128 values. It takes 150 x 150 chips, cut out here from the aligned
crops of a manifest; the transform is the median over 137 faces of the one that dlib's own landmarks give.
"""

import argparse
from pathlib import Path

import cv2
import dlib
import face_recognition_models
import numpy as np
from rich.progress import track

from train.data.manifest import read_manifest

CHIP_TO_CROP = np.array([[0.6496, 0.0014, 7.69], [-0.0014, 0.6496, 22.78]])


def main() -> None:
    """Read the manifest, write (N, 128) float32 in its order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    manifest = read_manifest(options.manifest)
    model = dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())
    rows = []
    for row in track(range(len(manifest)), "embeddings"):
        face = manifest.load_face(row)[..., ::-1]
        chip = cv2.warpAffine(face, CHIP_TO_CROP, (150, 150), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        rows.append(np.array(model.compute_face_descriptor(np.ascontiguousarray(chip)), np.float32))
    np.save(options.out, np.stack(rows))


if __name__ == "__main__":
    main()

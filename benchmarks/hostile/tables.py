"""Manifests, pairs, labels, embeddings, recipes, journals, archives and insightface's `.bin`."""

import json
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np

from hostile import table_files as files
from hostile.checkpoints import npy, odd_npy, odd_npz
from hostile.inputs import Input, mutate
from train.data.embeddings import open_embeddings
from train.data.labelled import read_labelled
from train.data.manifest import Manifest, make_manifest, read_manifest, write_table
from train.data.prepare import PrepareSettings, prepare
from train.data.sources.landmarks import with_landmarks
from train.data.sources.source import Source
from train.evaluation.inputs import EmbeddingSource
from train.evaluation.insightface import read_bin, unpack_bin
from train.evaluation.pairs import read_pairs
from train.fitting.regressor import RegressorRecipe
from train.labelling.journal import Journal
from train.pipeline.run import run_recipe
from train.recipes import read_recipe

PEOPLE = ["ann", "ann", "bob"]
PATHS = ["ann/0.png", "ann/1.png", "bob/0.png"]


def warm_up() -> None:
    """Have all libraries loaded before memory is measured."""
    logging.disable(logging.WARNING)
    RegressorRecipe.from_recipe(read_recipe("fiqa-nano"))


def draw_input(draw: random.Random) -> Input:
    """A file of any kind, hostile in any way."""
    kinds = {
        _manifest: 34,
        _labels: 10,
        _pairs: 8,
        _vectors: 8,
        _by_name: 8,
        _bin: 10,
        _recipe: 14,
        _journal: 6,
        _prepare: 8,
    }
    return draw.choices(list(kinds), list(kinds.values()))[0](draw)


def _manifest(draw: random.Random) -> Input:
    if draw.random() < 0.25:  # what must come back as it is
        people = [draw.choice(files.HARMLESS) for _ in range(draw.randint(1, 6))]
        rows = [{"path": f"{person}/{i}.png", "identity": person} for i, person in enumerate(people)]
        data = files.write_csv(rows, lineterminator=draw.choice(("\n", "\r\n")), quoting=draw.choice((0, 1)))
        return Input(
            "manifest", {"faces.csv": data}, "good", {"identities": people, "paths": [row["path"] for row in rows]}
        )
    return Input("manifest", *_table(draw))


def _table(draw: random.Random) -> tuple[dict[str, bytes], str]:
    rows = files.rows_of(draw, files.NAMES)
    if draw.random() < 0.65:
        return {draw.choice(("faces.csv", "faces.csv", "faces.CSV", "faces.parquet")): files.odd_csv(draw, rows)}, "csv"
    return {"faces.parquet": files.odd_parquet(draw, rows)}, "parquet"


def _labels(draw: random.Random) -> Input:
    table, about = _table(draw)
    vectors = np.ones((draw.randint(1, 8), 4), np.float32)
    data = npy(vectors) if draw.random() < 0.5 else odd_npy(draw, vectors)
    return Input("labels", {**table, "vectors.npy": data}, f"labels: {about}")


def _pairs(draw: random.Random) -> Input:
    return Input("pairs", {draw.choice(("pairs.txt", "pairs.csv")): files.pairs_text(draw)}, "pairs")


def _vectors(draw: random.Random) -> Input:
    return Input("vectors", {"vectors.npy": odd_npy(draw, np.ones((3, 4), np.float32))}, "embeddings")


def _by_name(draw: random.Random) -> Input:
    if draw.random() < 0.5:
        return Input(
            "judge",
            {"vectors.npz": odd_npz(draw, {"names": np.array(PATHS), "embeddings": np.ones((3, 4), np.float32)})},
            "embeddings by name",
        )
    points = np.tile(np.arange(10, dtype=np.float32).reshape(1, 5, 2), (3, 1, 1))
    return Input(
        "landmarks",
        {"landmarks.npz": odd_npz(draw, {"names": np.array(PATHS), "landmarks": points})},
        "landmarks by name",
    )


def _bin(draw: random.Random) -> Input:
    return Input(draw.choice(("bin", "unpack")), {"lfw.bin": files.insightface_bin(draw)}, "insightface")


def _recipe(draw: random.Random) -> Input:
    if draw.random() < 0.15:
        kept = draw.choice(
            (
                b"",
                b"{}",
                b"[]",
                b"null",
                b"{",
                b"[" * 100_000,
                b"\xff",
                b'{"network": 1}',
                b"1" * 5000,
                mutate(draw, b'{"network": "fiqa-nano"}')[0],
            )
        )
        return Input("run", {"recipe.yaml": files.RECIPE, "out/recipe.json": kept}, "recipe.json")
    return Input("recipe", {"recipe.yaml": files.recipe(draw)}, "recipe")


def _journal(draw: random.Random) -> Input:
    return Input("journal", {"labels.journal": files.journal(draw)}, "journal")


def _prepare(draw: random.Random) -> Input:
    kind = draw.randrange(3)
    if kind == 0:
        return Input("prepare", {"faces.tar": files.archive(draw)}, "archive")
    if kind == 1:  # crops are there already
        kept = draw.choice((b"", b"{}", b"[]", b"null", b"{", b"[" * 100_000, b"\xff", b'{"copies": "1"}', b"1" * 5000))
        return Input(
            "prepare",
            {"faces.tar": files.archive(draw), "out/prepare.json": kept, "out/manifest.csv": b"path,identity\n"},
            "prepare.json",
        )
    rows = [{"path": path, "identity": draw.choice(files.NAMES)} for path in PATHS]
    return Input(
        "prepare", {"faces.csv": files.write_csv(rows), **dict.fromkeys(PATHS, files.CROP)}, "crops of odd people"
    )


# Doors


def _path(place: Path, given: Input) -> Path:
    return place / next(iter(given.files))


def _faces(place: Path) -> Manifest:
    return make_manifest(
        [{"path": path, "identity": person} for path, person in zip(PATHS, PEOPLE, strict=True)], place
    )


def _read(place: Path, given: Input) -> None:
    manifest = read_manifest(_path(place, given))
    _check(manifest)
    for name, found in (("identities", manifest.identities), ("paths", manifest.paths)):
        if name in given.options and found != given.options[name]:
            raise AssertionError(f"{name} are {found}, were {given.options[name]}")
    for suffix in (".csv", ".parquet"):
        write_table(manifest.table, place / f"again{suffix}")
        again = read_manifest(place / f"again{suffix}")
        if (again.paths, again.identities) != (manifest.paths, manifest.identities):
            raise AssertionError(f"{suffix} changes paths or identities")


def _check(manifest: Manifest) -> None:
    """Every path and every person is a text; no person leads elsewhere."""
    for row, (path, person) in enumerate(zip(manifest.paths, manifest.identities, strict=True)):
        if (
            not (isinstance(path, str) and path and isinstance(person, str))
            or person.strip() in ("", ".", "..")
            or "/" in person
            or "\0" in person
        ):
            raise AssertionError(f"row {row} is {path!r} of {person!r}")


def _read_labels(place: Path, given: Input) -> None:
    faces = read_labelled(_path(place, given), "faceqan", place / "vectors.npy")
    if np.isnan(faces.labels).any() or len(faces.labels) != len(faces.identities):
        raise AssertionError("labels without a number")
    _ = faces.embeddings


def _read_pairs(place: Path, given: Input) -> None:
    pairs = read_pairs(_path(place, given), _faces(place))
    if any(part.size and (part.min() < 0 or part.max() > 2) for part in (pairs.mated, pairs.non_mated)):
        raise AssertionError("pairs of no rows")


def _open_vectors(place: Path, given: Input) -> None:
    vectors = open_embeddings(_path(place, given), _faces(place), place / "faces.csv")
    if np.asarray(vectors).shape[0] != 3 or vectors.dtype.kind not in "fiu":
        raise AssertionError(f"embeddings of {vectors.dtype} {vectors.shape}")


def _judge(place: Path, given: Input) -> None:
    EmbeddingSource(str(_path(place, given))).read(_faces(place), np.arange(3), place)


def _landmarks(place: Path, given: Input) -> None:
    _check(with_landmarks(_faces(place), _path(place, given)))


def _read_bin(place: Path, given: Input) -> None:
    images, mated = read_bin(_path(place, given))
    if len(images) != 2 * len(mated) or not all(isinstance(image, bytes) for image in images):
        raise AssertionError("images that are no bytes")


def _unpack(place: Path, given: Input) -> None:
    _check(read_manifest(unpack_bin(_path(place, given), place / "out") / "manifest.csv"))


def _read_recipe(place: Path, given: Input) -> None:
    recipe = read_recipe(str(_path(place, given)))
    json.dumps(recipe)  # kept beside the results
    RegressorRecipe.from_recipe(recipe)


def _run(place: Path, given: Input) -> None:
    run_recipe(read_recipe(str(place / "recipe.yaml")), place, place / "out")


def _open_journal(place: Path, given: Input) -> None:
    journal = Journal(_path(place, given), dict(files.JOURNAL_SETTINGS), list(files.JOURNAL_PATHS))
    with journal:
        pass
    values: Any = journal.values
    if values.shape != (3,) or not all(isinstance(error, str) for error in journal.errors.values()):
        raise AssertionError(f"values {values}, errors {journal.errors}")


def _make_crops(place: Path, given: Input) -> None:
    _check(
        read_manifest(prepare([Source(_path(place, given))], place / "out", PrepareSettings(copies=1, test_copies=0)))
    )


DOORS = {
    "manifest": _read, "labels": _read_labels, "pairs": _read_pairs, "vectors": _open_vectors, "judge": _judge,
    "landmarks": _landmarks, "bin": _read_bin,
    "unpack": _unpack, "recipe": _read_recipe, "run": _run, "journal": _open_journal, "prepare": _make_crops,
}  # fmt: skip

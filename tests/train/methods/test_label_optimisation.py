"""Label optimisation: the recording, its steps against plain loops, and the command from file to file."""

import dataclasses
import errno
import io
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from sdk.errors import InputError, OutputError
from train.cli import app
from train.data.manifest import read_table, write_table
from train.lock import locked
from train.methods.optimisation import manifest, ranks
from train.methods.optimisation.manifest import optimise_manifest
from train.methods.optimisation.ranks import OptimisationSettings, optimise

GOLDEN = np.load(Path(__file__).parents[2] / "data" / "golden" / "label_optimisation.npz")
SETTINGS = OptimisationSettings(epsilon=0.1, iterations=2, clusters=3)


@pytest.mark.parametrize("epsilon", [0.001, 0.1, 0.5])
@pytest.mark.parametrize("block", [1, 10, 4096])
def test_golden(epsilon: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BLOCK", block)
    people = np.unique([name.split("/")[0] for name in GOLDEN["names"]], return_inverse=True)[1]
    settings = OptimisationSettings(epsilon, iterations=3)
    clusters = np.arange(len(people))
    result = optimise(GOLDEN["quality"], people, clusters, GOLDEN["embeddings"].__getitem__, settings)
    np.testing.assert_array_equal(result, GOLDEN[f"optimised_{epsilon}"])


def uneven_people() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """40 images of 6 people in shuffled order: 1 to 12 images each, in 1 to 4 clusters of unequal size."""
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(6), [1, 2, 5, 9, 11, 12])
    clusters = rng.integers(0, np.array([1, 2, 4, 1, 3, 4])[people])
    shuffled = rng.permutation(len(people))
    return people[shuffled], clusters[shuffled]


def test_pairs_are_one_image_of_each_other_cluster() -> None:
    people, clusters = uneven_people()
    order = np.lexsort((clusters, people))
    layout = ranks._Layout.of(people[order], clusters[order])
    drawn = set()
    for seed in range(200):
        a, b = layout.draw(slice(0, len(people)), np.random.default_rng(seed))
        pairs = {(int(order[i]), int(order[j])) for i, j in zip(a, b, strict=True)}
        assert len(pairs) == len(a) == layout.pairs
        seen = sorted((i, int(people[j]), int(clusters[j])) for i, j in pairs)
        everyone = range(len(people))
        wanted = {(i, int(people[j]), int(clusters[j])) for i in everyone for j in everyone if people[i] == people[j]}
        assert seen == sorted(key for key in wanted if key[2] != clusters[key[0]])
        drawn |= pairs
    mated = {(i, j) for i in range(len(people)) for j in range(len(people)) if people[i] == people[j]}
    assert drawn == {(i, j) for i, j in mated if clusters[i] != clusters[j]}


def test_keys_sort_as_similarities_do() -> None:
    values = np.array(
        [-1.0, -0.5, -1e-20, 0.0, 1e-20, 0.3, np.nextafter(np.float32(0.3), np.float32(1)), 1], np.float32
    )
    keys = ranks._sortable(values)
    assert (np.diff(keys) > 0).all()
    low = (1 << 32) - 1
    assert ((keys << 32 | low) >> 32 == keys).all()


def plain(labels: list[float], pairs: list[tuple[int, int, float]], epsilon: float) -> list[float]:
    """One iteration as one would write it down first."""
    by_label = sorted(range(len(labels)), key=lambda i: labels[i])
    rank = {sample: place for place, sample in enumerate(by_label)}
    counts: dict[int, list[int]] = {sample: [] for sample in rank}
    for place, (a, b, _) in enumerate(sorted(pairs, key=lambda pair: pair[2])):
        counts[min(a, b, key=rank.__getitem__)].append(place)
    moved = {}
    for sample, places in counts.items():
        target = sum(places) / len(places) if places else rank[sample]
        moved[sample] = rank[sample] + epsilon * (target - rank[sample])
    result = [0.0] * len(labels)
    for value, sample in zip(sorted(labels), sorted(moved, key=moved.__getitem__), strict=True):
        result[sample] = value
    return result


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.3, 1.0])
def test_an_iteration_is_that_of_the_plain_loop(epsilon: float) -> None:
    people, clusters = uneven_people()
    rng = np.random.default_rng(5)
    vectors, labels = rng.normal(size=(len(people), 8)).astype(np.float32), rng.random(len(people))
    order = np.lexsort((clusters, people))
    layout = ranks._Layout.of(people[order], clusters[order])
    a, b = (order[part] for part in layout.draw(slice(0, len(people)), np.random.default_rng([7, 0])))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [(int(i), int(j), float(unit[i].astype(np.float64) @ unit[j])) for i, j in zip(a, b, strict=True)]
    settings = OptimisationSettings(epsilon, iterations=1, seed=7)
    result = optimise(labels, people, clusters, vectors.__getitem__, settings)
    assert result.tolist() == plain(labels.tolist(), pairs, epsilon)
    assert (epsilon == 0) == (result.tolist() == labels.tolist())


@dataclasses.dataclass
class Files:
    """A labelled manifest with embeddings: 60 images, 2 of a person, 20 of another, and one alone."""

    folder: Path
    rows: list[dict[str, object]]
    embeddings: NDArray[np.float32]

    @property
    def paths(self) -> tuple[Path, Path]:
        """Labels and embeddings, written as they are now."""
        labels, embeddings = self.folder / "labels.csv", self.folder / "embeddings.npy"
        write_table(pa.Table.from_pylist(self.rows), labels)
        np.save(embeddings, self.embeddings)
        return labels, embeddings

    def optimise(self, settings: OptimisationSettings = SETTINGS, label: str = "faceqan") -> dict[str, float | None]:
        labels, embeddings = self.paths
        table = optimise_manifest(labels, label, embeddings, self.folder / "out.parquet", settings)
        return dict(zip(table["path"].to_pylist(), table[table.num_columns - 1].to_pylist(), strict=True))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    rng = np.random.default_rng(0)
    identities = ["c"] * 20 + ["a"] * 2 + ["alone"] + ["b"] * 37
    rows = [
        {"path": f"{person}/{index:02}.png", "identity": person, "faceqan": float(label), "error": ""}
        for index, (person, label) in enumerate(zip(identities, rng.random(60), strict=True))
    ]
    return Files(tmp_path, rows, rng.normal(size=(60, 8)).astype(np.float32))


def test_the_command_adds_a_column(files: Files) -> None:
    labels, embeddings = files.paths
    command = ["label", "optimise", str(labels), "--label", "faceqan", "--embeddings", str(embeddings)]
    command += ["--epsilon", "0.1", "--iterations", "2", "--clusters", "3"]
    refused = CliRunner().invoke(app, [*command, "--out", str(labels)])
    assert refused.exit_code == 2
    assert "is an input" in refused.output
    result = CliRunner().invoke(app, [*command, "--out", str(files.folder / "out.csv")])
    assert result.exit_code == 0, result.output
    labels.write_bytes((files.folder / "out.csv").read_bytes())
    assert "60 labels optimised, 0 rows without one" in result.output
    table = read_table(labels)
    assert table.column_names == ["path", "identity", "faceqan", "error", "faceqan-optimised"]
    before, after = (table[name].to_pylist() for name in ("faceqan", "faceqan-optimised"))
    assert before == [row["faceqan"] for row in files.rows]
    assert before != after
    assert sorted(before) == sorted(after)
    again = CliRunner().invoke(app, [*command, "--out", str(files.folder / "out.csv"), "--name", "better"])
    assert again.exit_code == 0, again.output
    table = read_table(files.folder / "out.csv")
    assert table["better"].to_pylist() == table["faceqan-optimised"].to_pylist() == after
    assert sorted(path.name for path in files.folder.iterdir()) == ["embeddings.npy", "labels.csv", "out.csv"]


def test_the_order_of_rows_does_not_matter_and_the_seed_does(files: Files) -> None:
    first = files.optimise()
    order = np.random.default_rng(1).permutation(60)
    shuffled = Files(files.folder, [files.rows[i] for i in order], files.embeddings[order])
    assert shuffled.optimise() == first
    assert files.optimise(dataclasses.replace(SETTINGS, seed=1)) != first


def test_equal_labels_are_ordered_by_name(files: Files) -> None:
    for index, row in enumerate(files.rows):
        row["faceqan"] = index % 3 / 2
    order = np.arange(60)[::-1]
    backwards = Files(files.folder, [files.rows[i] for i in order], files.embeddings[order])
    assert backwards.optimise() == files.optimise()


def test_rows_without_a_label_have_no_part(files: Files) -> None:
    dropped = (3, 30)
    kept = [row for row in range(60) if row not in dropped]
    fewer = Files(files.folder, [files.rows[row] for row in kept], files.embeddings[kept]).optimise()
    for row in dropped:
        files.rows[row] |= {"faceqan": None, "error": "unreadable"}
        files.embeddings[row] = np.nan
    all_rows = files.optimise()
    assert [all_rows.pop(str(files.rows[row]["path"])) for row in dropped] == [None, None]
    assert all_rows == fewer


@pytest.mark.parametrize("cut_off", [0, 7, 4 * 19])
def test_an_interrupted_run_keeps_its_clusters(files: Files, cut_off: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people, of 37 and 20 images, have more than three; the second one's clusters may be cut off anywhere."""
    wanted, calls = files.optimise(), []
    real = ranks._k_means

    def counted(vectors: NDArray[np.float32], settings: OptimisationSettings) -> NDArray[np.int32]:
        calls.append(len(vectors))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(vectors, settings)

    monkeypatch.setattr(ranks, "_k_means", counted)
    (files.folder / "out.parquet").unlink()
    with pytest.raises(KeyboardInterrupt):
        files.optimise()
    assert not (files.folder / "out.parquet").exists()
    (kept,) = files.folder.glob("out.parquet.clusters-*")
    assert kept.stat().st_size == 4 * 37
    kept.write_bytes(kept.read_bytes() + bytes(range(cut_off)))
    assert files.optimise() == wanted
    assert calls == [37, 20, 20]
    assert not kept.exists()


@pytest.mark.parametrize("other", ["seed", "clusters", "embeddings"])
def test_clusters_of_another_run_are_not_taken(files: Files, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "optimise", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.optimise()
    monkeypatch.undo()
    (kept,) = files.folder.glob("out.parquet.clusters-*")
    kept.write_bytes(bytes(kept.stat().st_size))
    if other == "embeddings":
        files.embeddings[7] += 1
        settings = SETTINGS
    else:
        settings = dataclasses.replace(SETTINGS, **{other: 5})
    found = files.optimise(settings)
    kept.unlink()
    assert found == files.optimise(settings)


def test_a_full_disk_loses_nothing(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, written = files.optimise(), []
    real = ranks.write_all

    def small_disk(file: io.FileIO, data: bytes) -> None:
        if written:
            raise OSError(errno.ENOSPC, "no space")
        written.append(data)
        real(file, data)

    monkeypatch.setattr(ranks, "write_all", small_disk)
    with pytest.raises(OutputError, match=r"clusters-3-0-\w+ cannot be written: .*make room and start again"):
        files.optimise()
    (kept,) = files.folder.glob("out.parquet.clusters-*")
    assert kept.read_bytes() == written[0]
    monkeypatch.undo()
    assert files.optimise() == wanted


def test_a_second_run_into_one_output_is_refused(files: Files) -> None:
    with locked(files.folder / "out.parquet"), pytest.raises(InputError, match="is being written by another run"):
        files.optimise()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_bad_input(files: Files) -> None:
    labels, embeddings = files.paths
    out = files.folder / "out.csv"
    with pytest.raises(InputError, match="no column 'diffiqa', only path, identity, faceqan, error"):
        optimise_manifest(labels, "diffiqa", embeddings, out, SETTINGS)
    with pytest.raises(InputError, match="'path' does not hold numbers"):
        optimise_manifest(labels, "path", embeddings, out, SETTINGS)
    with pytest.raises(InputError, match=r"no.npy cannot be read.*wanted the .npy of a labelling run"):
        optimise_manifest(labels, "faceqan", files.folder / "no.npy", out, SETTINGS)
    np.save(embeddings, files.embeddings[:59])
    with pytest.raises(InputError, match=r"59 rows and .*labels.csv 60, wanted equally many"):
        optimise_manifest(labels, "faceqan", embeddings, out, SETTINGS)
    files.embeddings[[4, 50], 1] = np.nan
    with pytest.raises(InputError, match=r"2 of 60 labelled images have no embedding, such as b/50.png"):
        files.optimise()
    assert sorted(path.name for path in files.folder.iterdir()) == ["embeddings.npy", "labels.csv"]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("faceqan", 0.5, r"all 60 labels of faceqan are 0.5"),
        ("faceqan", None, r"no row of 60 has a label of faceqan"),
        ("identity", "", r"the identity in row 1 \('c/00.png'\) of .*labels.csv is blank"),
        ("identity", "{}", r"none of 60 people has two images"),
    ],
)
def test_labels_and_people_that_tell_nothing(files: Files, column: str, value: object, message: str) -> None:
    for index, row in enumerate(files.rows):
        row[column] = value.format(index) if isinstance(value, str) else value
    with pytest.raises(InputError, match=message):
        files.optimise()


@pytest.mark.parametrize(("name", "value"), [("epsilon", 2.0), ("epsilon", -0.1), ("iterations", 0), ("clusters", 1)])
def test_settings(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} is {value}, wanted"):
        dataclasses.replace(SETTINGS, **{name: value})


def test_published_pickles_in_and_out(tmp_path: Path) -> None:
    """Scores, embeddings and clusters by name, as the published repository has them, give the recorded result."""
    names = GOLDEN["names"].tolist()
    people = {name.split("/")[0] for name in names}
    clusters = {
        who: {place: [name] for place, name in enumerate(n for n in names if n.startswith(f"{who}/"))} for who in people
    }
    shuffled = np.random.default_rng(0).permutation(len(names))
    contents = {
        "quality": {name: float(score) for name, score in zip(names, GOLDEN["quality"], strict=True)},
        "embeddings": {names[row]: GOLDEN["embeddings"][row] for row in shuffled},
        "clusters": clusters,
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(content))
    arguments = ["label", "optimise", str(tmp_path / "quality.pkl"), "--label", "quality", "--iterations", "3"]
    arguments += ["--embeddings", str(tmp_path / "embeddings.pkl"), "--epsilon", "0.1"]
    arguments += ["--clustering", str(tmp_path / "clusters.pkl"), "--out", str(tmp_path / "improved.pkl")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    improved = pickle.loads((tmp_path / "improved.pkl").read_bytes())
    assert [improved[name] for name in names] == GOLDEN["optimised_0.1"].tolist()
    (tmp_path / "clusters.csv").write_text(
        "path,cluster\n" + "".join(f"{name},{place}\n" for place, name in enumerate(names)), encoding="utf-8"
    )
    arguments[arguments.index("--clustering") + 1] = str(tmp_path / "clusters.csv")
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert pickle.loads((tmp_path / "improved.pkl").read_bytes()) == improved
    del clusters[min(people)][0]
    (tmp_path / "clusters.pkl").write_bytes(pickle.dumps(clusters))
    arguments[arguments.index("--clustering") + 1] = str(tmp_path / "clusters.pkl")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "1 of" in result.output
    assert "no cluster in" in " ".join(result.output.split())

"""Full disks and second runs: clear errors, no half-written file, nothing lost."""

import errno
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from sdk.alignment import TEMPLATE
from sdk.errors import InputError, OutputError
from sdk.files import write_errors
from tests.support.labellers import Brightness, expected
from tests.support.tiny_networks import TINY, fit_tiny
from tests.support.weights import tame_network
from train.cli import app
from train.data.dataset import FaceDataset
from train.data.manifest import read_manifest, read_table, write_table
from train.data.prepare import PrepareSettings, prepare
from train.data.sources.source import Source
from train.evaluation.curves import EvaluationSettings
from train.evaluation.inputs import EmbeddingSource
from train.evaluation.insightface import unpack_bin
from train.evaluation.run import Methods, Protocol, evaluate, evaluate_video
from train.fitting.settings import FitSettings
from train.labelling.embedder import embed_manifest
from train.labelling.runner import label_manifest
from train.lock import locked
from train.methods.fit_diffiqa import DiffusionSettings, fit_diffiqa
from train.networks import QualityNetwork, save_network
from train.networks.recognition import RecognitionModel
from train.pipeline.run import run_recipe

resource = pytest.importorskip("resource", reason="this system has no limits on files")


@contextmanager
def full_disk(largest: int) -> Iterator[None]:
    """No file can grow beyond so many bytes: the write that would do so takes a part, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Wide(Brightness):
    """With embeddings whose file outgrows the journal."""

    def __call__(self, faces, keys):  # type: ignore[no-untyped-def]
        result = super().__call__(faces, keys)
        return {**result, "embedding": np.repeat(result["embedding"], 128, axis=1)}


@pytest.mark.parametrize(
    ("largest", "embeddings", "where", "kept"),
    [
        (600, None, "l.parquet.journal", range(3, 12)),
        (6000, "e.npy", "e.npy.part", [0]),
        (1000, None, "l.parquet", [12]),
    ],
    ids=["journal", "embeddings", "table"],
)
def test_a_full_disk_loses_nothing(
    crops: Path, tmp_path: Path, largest: int, embeddings: str | None, where: str, kept: range | list[int]
) -> None:
    manifest, out = read_manifest(crops), tmp_path / "out" / "l.parquet"
    vectors = None if embeddings is None else out.with_name(embeddings)
    with full_disk(largest), pytest.raises(OutputError, match=f"{where} cannot be written: .*make room"):
        label_manifest(manifest, Wide(), out, {}, 3, vectors)
    assert {path.name for path in out.parent.iterdir()} <= {"l.parquet.journal", "e.npy.part"}
    second = Wide()
    label_manifest(manifest, second, out, {}, 3, vectors)
    assert 12 - len(second.seen) in kept
    np.testing.assert_allclose(read_table(out)["brightness"], expected(manifest))
    if vectors is not None:
        np.testing.assert_allclose(np.load(vectors)[:, 0], expected(manifest), rtol=1e-6)
    assert {path.name for path in out.parent.iterdir()} == {"l.parquet", *filter(None, [embeddings])}


def test_a_full_disk_has_the_exit_code_of_errors(crops: Path, tmp_path: Path) -> None:
    arguments = ["label", "sharpness", str(crops), "--out", str(tmp_path / "l.csv"), "--callers", "1"]
    with full_disk(600):
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "make room and start again" in " ".join(result.output.split())
    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_crops_that_cannot_be_written_are_an_error(crops: Path, tmp_path: Path) -> None:
    with full_disk(600), pytest.raises(OutputError, match=r"\.png cannot be written"):
        prepare([Source(crops)], tmp_path / "faces", PrepareSettings(copies=0, test_copies=0))
    assert not (tmp_path / "faces" / "manifest.csv").exists()


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, OutputError),
        (errno.EDQUOT, OutputError),
        (errno.EFBIG, OutputError),
        (errno.EACCES, InputError),
        (errno.EROFS, InputError),
    ],
)
def test_errors_of_the_system(number: int, error: type[Exception]) -> None:
    with (
        pytest.raises(error, match=f"table.csv cannot be written: {os.strerror(number)}"),
        write_errors(Path("table.csv")),
    ):
        raise OSError(number, "as a library puts it")


def test_a_journal_of_other_images_is_refused(crops: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        label_manifest(read_manifest(crops), Brightness(6), tmp_path / "l.csv", {}, 3)
    (crops / "person0" / "0.png").rename(crops / "person0" / "00.png")
    with pytest.raises(InputError, match=r"has 'person0/0.png' as image 0, this run has 'person0/00.png'"):
        label_manifest(read_manifest(crops), Brightness(), tmp_path / "l.csv", {}, 3)


def test_embeddings_cannot_come_later_or_go(crops: Path, tmp_path: Path) -> None:
    manifest, out, vectors = read_manifest(crops), tmp_path / "l.csv", tmp_path / "e.npy"
    with pytest.raises(KeyboardInterrupt):
        label_manifest(manifest, Brightness(6), out, {}, 3, vectors)
    assert not vectors.exists()
    with pytest.raises(InputError, match="embeddings=True, this one has embeddings=False"):
        label_manifest(manifest, Brightness(), out, {}, 3)
    (tmp_path / "e.npy.part").unlink()
    with pytest.raises(InputError, match=r"e.npy.part is gone, but .*l.csv.journal is there; delete"):
        label_manifest(manifest, Brightness(), out, {}, 3, vectors)


def test_stopped_between_the_embeddings_and_the_table(
    crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, out, vectors = read_manifest(crops), tmp_path / "l.csv", tmp_path / "e.npy"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("train.labelling.runner.write_labels", stop)
        with pytest.raises(KeyboardInterrupt):
            label_manifest(manifest, Brightness(), out, {}, 3, vectors)
    again = Brightness()
    label_manifest(manifest, again, out, {}, 3, vectors)
    assert again.seen == []
    np.testing.assert_allclose(read_table(out)["brightness"], expected(manifest))
    assert {path.name for path in tmp_path.iterdir()} == {"crops", "l.csv", "e.npy"}


def label(crops: Path, folder: Path) -> None:
    label_manifest(read_manifest(crops), Brightness(), folder / "l.csv", {})


def label_embeddings(crops: Path, folder: Path) -> None:
    label_manifest(read_manifest(crops), Brightness(), folder / "other.csv", {}, 3, folder / "e.npy")


def prepare_crops(crops: Path, folder: Path) -> None:
    prepare([Source(crops)], folder, PrepareSettings())


def train(crops: Path, folder: Path) -> None:
    faces = FaceDataset(read_manifest(crops), range(10), {"label": np.zeros(12, np.float32)})
    network = QualityNetwork(TINY.backbone(), 16, 8)
    loss = lambda features, prediction, *_: {"total": prediction.mean()}  # noqa: E731
    fit_tiny(network, faces, faces, loss, FitSettings(epochs=1, batch_size=8), folder)


def train_diffusion(crops: Path, folder: Path) -> None:
    fit_diffiqa(DiffusionSettings(width=8, steps=1, workers=0), crops, folder)


def embed(crops: Path, folder: Path) -> None:
    model = RecognitionModel(tame_network("mobilefacenet128"), (0.5,) * 3, (0.5,) * 3)
    embed_manifest(read_manifest(crops), model, folder / "e.npy")


EVALUATION = EvaluationSettings(fmr=(0.1,), repetitions=10)


def evaluated(crops: Path) -> tuple[Path, EmbeddingSource]:
    """A manifest of the crops with a quality and a track each, and embeddings of theirs; made once."""
    source, vectors = crops / "evaluated.csv", crops / "fr.npy"
    if not source.exists():
        paths = read_manifest(crops).table["path"]
        columns = {"identity": [index // 4 for index in range(12)], "track": [f"t{index // 2}" for index in range(12)]}
        write_table(pa.table({"path": paths, **columns, "quality": range(12)}), source)
        np.save(vectors, np.random.default_rng(0).normal(size=(12, 8)))
    return source, EmbeddingSource(str(vectors))


def evaluate_curves(crops: Path, folder: Path) -> None:
    source, embeddings = evaluated(crops)
    evaluate(Protocol(source), embeddings, Methods(["quality"]), EVALUATION, folder)


def evaluate_tracks(crops: Path, folder: Path) -> None:
    source, embeddings = evaluated(crops)
    evaluate_video(source, embeddings, Methods(["quality"]), EVALUATION, folder)


WORKS = [
    (label, "l.csv"),
    (label_embeddings, "e.npy"),
    (prepare_crops, "."),
    (train, "."),
    (train_diffusion, "."),
    (embed, "e.npy"),
    (evaluate_curves, "."),
    (evaluate_tracks, "."),
]


@pytest.mark.parametrize(("work", "target"), WORKS)
def test_a_second_run_is_refused(crops: Path, tmp_path: Path, work, target: str) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "out"
    folder.mkdir()
    with locked(folder / target), pytest.raises(InputError, match=rf"another run \(process {os.getpid()} on "):
        work(crops, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("work", [work for work, _ in WORKS])
def test_a_folder_below_a_file_is_an_error(crops: Path, tmp_path: Path, work) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "afile").write_text("kept")
    with pytest.raises(InputError, match=r"afile/x.* cannot be written: Not a directory"):
        work(crops, tmp_path / "afile" / "x")
    assert (tmp_path / "afile").read_text() == "kept"


@pytest.mark.parametrize(
    ("work", "largest"), [(evaluate_curves, 60), (evaluate_curves, 700), (evaluate_curves, 9000), (evaluate_tracks, 60)]
)
def test_an_evaluation_on_a_full_disk(crops: Path, tmp_path: Path, work, largest: int) -> None:  # type: ignore[no-untyped-def]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    work(crops, whole)
    with full_disk(largest), pytest.raises(OutputError, match=r"cannot be written: .*make room"):
        work(crops, cut)
    kept = {path.name: path.stat().st_size for path in cut.iterdir()}
    assert len(kept) < len(list(whole.iterdir()))
    assert all((whole / name).stat().st_size == size for name, size in kept.items())


def test_misaligned_copies_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    """Crops are of one colour, so small; copies on wrong landmarks have noise at their edges."""
    image = np.random.default_rng(0).integers(0, 256, (250, 250, 3), dtype=np.uint8)
    image[67:183, 67:183] = 128
    names = [f"person/{index}.png" for index in range(3)]
    (tmp_path / "images" / "person").mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(tmp_path / "images" / name), image)
    np.savez(tmp_path / "marks.npz", names=names, landmarks=np.repeat(TEMPLATE[None] + 69, 3, 0))
    settings = PrepareSettings(test_copies=0, misaligned=1, test=1.0)
    with full_disk(1500), pytest.raises(OutputError, match=r"-m1\.png cannot be written"):
        prepare([Source(tmp_path / "images", tmp_path / "marks.npz")], tmp_path / "faces", settings)
    assert not (tmp_path / "faces" / "manifest.csv").exists()


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """No more room for files with this in their name."""

    def patch(name: str) -> None:
        replace = os.replace

        def refuse(draft: Path, target: Path) -> None:
            if name in Path(target).name:
                raise OSError(errno.ENOSPC, "no room")
            replace(draft, target)

        monkeypatch.setattr(os, "replace", refuse)

    return patch


def evaluate_by_model(crops: Path, folder: Path) -> None:
    save_network(tame_network("mobilefacenet128"), crops / "fr.safetensors")
    source, _ = evaluated(crops)
    evaluate(
        Protocol(source),
        EmbeddingSource("mobilefacenet128", crops / "fr.safetensors"),
        Methods(["quality"]),
        EVALUATION,
        folder,
    )


def unpack(crops: Path, folder: Path) -> None:
    images = [path.read_bytes() for path in sorted(crops.rglob("*.png"))]
    (crops / "x.bin").write_bytes(pickle.dumps((images, [True] * 6)))
    unpack_bin(crops / "x.bin", folder)


def whole_recipe(crops: Path, folder: Path) -> None:
    sections = {name: {} for name in ("prepare", "teacher", "faceqan")}
    run_recipe({"network": "fiqa-nano", **sections}, crops, folder)


@pytest.mark.parametrize(
    ("work", "name"),
    [
        (train, "history.json"),
        (evaluate_by_model, "embeddings.json"),
        (unpack, "000003.png"),
        (whole_recipe, "recipe.json"),
    ],
)
def test_small_files_on_a_full_disk(crops: Path, tmp_path: Path, no_room, work, name: str) -> None:  # type: ignore[no-untyped-def]
    no_room(name)
    with pytest.raises(OutputError, match=f"{name} cannot be written: .*make room"):
        work(crops, tmp_path / "out")
    left = [path.name for path in (tmp_path / "out").rglob("*") if name in path.name or path.name.startswith(".fiqa")]
    assert left == []


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from train.lock import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(600)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match=f"process {holder.pid} on"), locked(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for command in (["label", "sharpness"], ["prepare"]):
        result = CliRunner().invoke(app, [*command, str(tmp_path / "empty"), "--out", str(tmp_path / "l.csv")])
        assert result.exit_code == 2
        assert "holds no image" in " ".join(result.output.split())

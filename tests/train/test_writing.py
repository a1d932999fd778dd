"""Full disks and second runs: clear errors, no half-written file, nothing lost."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sdk.errors import InputError, OutputError
from sdk.tables import write_errors
from tests.train.conftest import TINY
from tests.train.test_labelling import Brightness, expected
from train.cli import app
from train.data.dataset import FaceDataset
from train.data.exclusive import exclusive
from train.data.manifest import read_manifest, read_table
from train.data.prepare import PrepareSettings, prepare
from train.methods.fit_settings import FitSettings
from train.methods.fitting import Fit
from train.methods.labelling import label_manifest
from train.networks import QualityNetwork

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
        prepare(crops, tmp_path / "faces", PrepareSettings(copies=0, test_copies=0))
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
        patch.setattr("train.methods.labelling.write_table", stop)
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
    prepare(crops, folder, PrepareSettings())


def train(crops: Path, folder: Path) -> None:
    faces = FaceDataset(read_manifest(crops), range(10), {"label": np.zeros(12, np.float32)})
    network = QualityNetwork(TINY.backbone(), 16, 8)
    Fit(network, TINY, faces, faces, lambda *_: {}, FitSettings(), folder).run()


@pytest.mark.parametrize(
    ("work", "target"), [(label, "l.csv"), (label_embeddings, "e.npy"), (prepare_crops, "."), (train, ".")]
)
def test_a_second_run_is_refused(crops: Path, tmp_path: Path, work, target: str) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "out"
    folder.mkdir()
    with exclusive(folder / target), pytest.raises(InputError, match=rf"another run \(process {os.getpid()} on "):
        work(crops, folder)
    assert list(folder.iterdir()) == []


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from train.data.exclusive import exclusive\n"
        "with exclusive(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(600)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match=f"process {holder.pid} on"), exclusive(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert (tmp_path / ".lock").exists()
    with exclusive(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for command in (["label", "sharpness"], ["prepare"]):
        result = CliRunner().invoke(app, [*command, str(tmp_path / "empty"), "--out", str(tmp_path / "l.csv")])
        assert result.exit_code == 2
        assert "holds no image" in " ".join(result.output.split())

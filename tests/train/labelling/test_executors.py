"""Labellers in other processes: they travel, and Ray gives the rows that threads give."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdk.errors import FiqaError, InputError
from sdk.models.catalog import find_entry
from sdk.onnx_bytes.protobuf import write_field
from tests.support.labellers import GivesUp, Meeting, Notes
from tests.support.weights import tame_diffusion, tame_network
from train.data.manifest import read_manifest, read_table
from train.labelling.embedder import Embedder
from train.labelling.executors import Threads, open_engine
from train.labelling.labeller import Labeller
from train.labelling.network_scores import NetworkScores
from train.labelling.runner import label_manifest
from train.labelling.sdk_model import SDKModel
from train.methods.baselines import DetectorConfidence, LightQNet, Sharpness
from train.methods.diffiqa import DifFIQALabeller, DifFIQASettings
from train.methods.faceqan import FaceQANLabeller, FaceQANSettings
from train.networks import QualityNetwork, get_variant
from train.networks.recognition import RecognitionModel

ROOT = Path(__file__).parents[3]
YUNET = [find_entry(name).file for name in ("yunet", "yunet-2026may")]
NEEDS_YUNET = pytest.mark.skipif(
    not any((Path(os.environ.get("FIQA_MODELS", "/nowhere")) / file).is_file() for file in YUNET),
    reason=f"needs {' or '.join(YUNET)} in FIQA_MODELS",
)


def recognition_model() -> RecognitionModel:
    return RecognitionModel(tame_network("mobilefacenet128"), (0.5,) * 3, (0.5,) * 3)


def faceqan_labeller() -> FaceQANLabeller:
    return FaceQANLabeller(recognition_model(), FaceQANSettings(copies=1, iterations=2))


def network_scores() -> NetworkScores:
    network = tame_network("ediffiqa-t")
    assert isinstance(network, QualityNetwork)
    return NetworkScores("ediffiqa-t", network, get_variant("ediffiqa-t"))


def diffiqa_labeller() -> DifFIQALabeller:
    return DifFIQALabeller(tame_diffusion(8), recognition_model(), DifFIQASettings(t=1, repetitions=1))


def lightqnet() -> LightQNet:
    """A TensorFlow graph of one layer, in the form of the published file: a sum of all pixels with drawn weights."""

    def attribute(name: str, value: bytes) -> bytes:
        return write_field(5, write_field(1, name) + write_field(2, value))

    def node(name: str, operation: str, *fields: bytes) -> bytes:
        return write_field(1, write_field(1, name) + write_field(2, operation) + b"".join(fields))

    weights = np.random.default_rng(0).normal(size=(96, 96, 3, 1)).astype("<f4")
    shape = b"".join(write_field(2, write_field(1, length)) for length in weights.shape)
    tensor = write_field(1, 1) + write_field(2, shape) + write_field(4, weights.tobytes())
    floats, ones = write_field(6, 1), write_field(1, write_field(3, 1) * 4)
    graph = node("input", "Placeholder", attribute("dtype", floats))
    graph += node("weights", "Const", attribute("dtype", floats), attribute("value", write_field(8, tensor)))
    graph += node(
        "score", "Conv2D", write_field(3, "input"), write_field(3, "weights"), attribute("T", floats),
        attribute("data_format", write_field(2, "NHWC")), attribute("padding", write_field(2, "VALID")),
        attribute("strides", ones),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.pb"
        path.write_bytes(graph)
        return LightQNet(path)


@pytest.mark.parametrize(
    "make",
    [
        faceqan_labeller,
        diffiqa_labeller,
        lambda: Embedder(recognition_model()),
        network_scores,
        Sharpness,
        pytest.param(DetectorConfidence, marks=NEEDS_YUNET),
        lightqnet,
        lambda: SDKModel("fiqa-nano"),
    ],
    ids=["faceqan", "diffiqa", "embedder", "network", "sharpness", "detector", "lightqnet", "model"],
)
def test_labellers_travel(make: Any, crops: Path) -> None:
    manifest = read_manifest(crops)
    faces, keys = np.stack([manifest.load_face(row) for row in range(3)]), manifest.paths[:3]
    labeller: Labeller = make()
    before = labeller(faces, keys)
    copy = pickle.loads(pickle.dumps(labeller))
    after = copy(faces, keys)
    assert copy.name == labeller.name
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    assert np.ptp(before[labeller.name]) > 0 or labeller.name == "detector"


def test_a_models_column_is_named_by_its_user(crops: Path) -> None:
    faces = read_manifest(crops).load_face(0)[None]
    mine, embedded = SDKModel("fiqa-nano", "mine")(faces, ["a"]), SDKModel("fiqa-nano")(faces, ["a"])
    assert list(mine) == ["mine"]
    np.testing.assert_array_equal(mine["mine"], embedded["fiqa-nano"])


def test_ray_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'fiqa\[scale\]'"), open_engine("ray"):
        pass


def test_unknown_engine() -> None:
    with pytest.raises(InputError, match="engine is 'spark', wanted plain or ray"), open_engine("spark"):
        pass


def killed_in_the_middle(crops: Path, folder: Path, engine: str, environment: dict[str, str]) -> int:
    """Label in a process that is killed once rows are in the journal; how many there are."""
    (folder / "notes").touch()
    code = (
        "import sys; from pathlib import Path; from tests.support.labellers import Notes\n"
        "from train.data.manifest import read_manifest\n"
        "from train.labelling.executors import open_engine; from train.labelling.runner import label_manifest\n"
        "crops, folder = Path(sys.argv[1]), Path(sys.argv[2])\n"
        f"with open_engine({engine!r}, 2) as engine:\n"
        "    label_manifest(read_manifest(crops), Notes(folder / 'notes', True), folder / 'l.parquet', {'k': 1}, 1,\n"
        "                   folder / 'e.npy', engine)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(crops), str(folder)], cwd=ROOT, env={**os.environ, **environment}
    )
    journal = folder / "l.parquet.journal"
    try:
        deadline = time.monotonic() + 900
        while not journal.exists() or len(journal.read_text().splitlines()) < 4:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (folder / "l.parquet").exists()
    assert not (folder / "e.npy").exists()
    return len(journal.read_text().splitlines()) - 1


def check_that_it_goes_on(crops: Path, folder: Path, done: int, engine: Any) -> None:
    manifest = read_manifest(crops)
    (folder / "notes").write_text("")
    labeller = Notes(folder / "notes", False)
    label_manifest(manifest, labeller, folder / "l.parquet", {"k": 1}, 1, folder / "e.npy", engine)
    assert len((folder / "notes").read_text().splitlines()) == 12 - done
    faces = np.stack([manifest.load_face(row) for row in range(12)])
    np.testing.assert_array_equal(read_table(folder / "l.parquet")["brightness"], faces.mean(axis=(1, 2, 3)))
    np.testing.assert_array_equal(np.load(folder / "e.npy"), faces[:, 0, :4, 0])
    assert {path.name for path in folder.glob("*.*")} == {"l.parquet", "e.npy"}


def test_killed_threads_go_on(crops: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    done = killed_in_the_middle(crops, folder, "plain", {})
    check_that_it_goes_on(crops, folder, done, Threads(2))


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[str]:
    """A Ray of two workers on this machine; its address."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (the extra scale)")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for attempt in range(5):
        try:
            context = ray.init(num_cpus=2, include_dashboard=False, logging_level="WARNING", log_to_driver=False)
            break
        except Exception as error:
            ray.shutdown()
            if attempt == 4 or "timed out during startup" not in str(error):
                raise
    yield context.address_info["gcs_address"]
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_ray_gives_the_rows_of_threads(crops: Path, tmp_path: Path) -> None:
    (crops / "person0" / "0.png").write_bytes(b"text")
    manifest = read_manifest(crops)
    for name in ("plain", "ray"):
        with open_engine(name, 2, "cpu") as engine:
            out, embeddings = tmp_path / f"{name}.parquet", tmp_path / f"{name}.npy"
            label_manifest(manifest, faceqan_labeller(), out, {}, 2, embeddings, engine)
    plain, ray = (read_table(tmp_path / f"{name}.parquet") for name in ("plain", "ray"))
    assert plain.equals(ray)
    assert plain["faceqan"].null_count == 1
    assert (tmp_path / "plain.npy").read_bytes() == (tmp_path / "ray.npy").read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_both_workers_work(crops: Path, tmp_path: Path) -> None:
    (tmp_path / "meeting").mkdir()
    with open_engine("ray", 2) as engine:
        table = label_manifest(
            read_manifest(crops), Meeting(tmp_path / "meeting"), tmp_path / "l.csv", {}, 1, engine=engine
        )
    processes = set(table["process"].to_pylist())
    assert len(processes) == 2
    assert os.getpid() not in processes


@pytest.mark.slow
def test_killed_ray_goes_on(crops: Path, tmp_path: Path, ray_cluster: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    done = killed_in_the_middle(crops, folder, "ray", {"RAY_ADDRESS": ray_cluster})
    with open_engine("ray", 2) as engine:
        check_that_it_goes_on(crops, folder, done, engine)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_what_stops_a_worker_is_told(crops: Path, tmp_path: Path) -> None:
    with open_engine("ray", 1) as engine, pytest.raises(FiqaError, match=r"no model\.onnx on this machine"):
        label_manifest(read_manifest(crops), GivesUp(), tmp_path / "l.csv", {}, engine=engine)
    with pytest.raises(InputError, match="the cluster has 0 GPUs"), open_engine("ray", device="cuda"):
        pass

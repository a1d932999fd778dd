"""`fiqa-train label` and `embed`: options of methods, settings, and code of a user's own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from train.cli import app
from train.data.manifest import read_manifest, read_table
from train.methods import LABELLERS

OPTIONS = {
    "faceqan": "source --out --model --fr --weights --mean --std --colour --size --k "
    "--iterations -l --epsilon --p --clip-to-image --seed "
    "--bf16 --embeddings --batch --device --callers --engine",
    "diffiqa": "source --out --diffusion --model --fr --weights --mean --std --colour --size -t --t -n --n "
    "--seed --precision --embeddings "
    "--batch --device --callers --engine",
    "froq": "source --out --layers --calibration --model --fr --weights --mean --std --colour --size --noise --images "
    "--seed --batch --device --callers --engine",
    "grafiqs": "source --out --layer --model --fr --weights --mean --std --colour --size --batch --device --callers "
    "--engine",
    "norm": "source --out --model --fr --weights --mean --std --colour --size --embeddings --batch --device --callers "
    "--engine",
    "sharpness": "source --out --batch --callers --engine",
    "detector": "source --out --model --batch --callers --engine",
    "lightqnet": "source --out --weights --batch --engine",
    "model": "source --out --model --name --batch --engine",
}
OWN = '''
class Shade:
    """Mean of a channel."""

    name = "shade"

    def __init__(self, channel: int = 0, negative: bool = False, weights: tuple[float, float] = (1.0, 0.0)) -> None:
        self.channel, self.sign, self.weights = channel, -1 if negative else 1, weights

    def __call__(self, faces, keys):
        means = faces[..., self.channel].mean(axis=(1, 2))
        return {self.name: self.sign * (self.weights[0] * means + self.weights[1])}


class Vectors(Shade):
    def __init__(self, device: str, embed: bool, channel: int) -> None:
        super().__init__(channel)
        self.device, self.embed = device, embed

    def __call__(self, faces, keys):
        return {**super().__call__(faces, keys), **({"embedding": faces[:, 0, :4, 0]} if self.embed else {})}


class NotOneEach(Shade):
    def __call__(self, faces, keys):
        return {self.name: faces.mean()}


class Taken:
    def __init__(self, source: str) -> None: ...


class Odd:
    def __init__(self, table: int | str) -> None: ...


def not_a_labeller():
    return 3


def network():
    from torch import nn
    return nn.Sequential(nn.AvgPool2d(112), nn.Flatten())


ANSWER = 42
MADE = Shade()
'''


@pytest.fixture
def folder(crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the crops, with a module of a user's own, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_methods.py").write_text(OWN)
    yield tmp_path
    sys.modules.pop("own_methods", None)


def run(*words: str) -> str:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return result.output


def means(channel: int = 0) -> np.ndarray:
    manifest = read_manifest(Path("crops"))
    return np.array([manifest.load_face(row)[..., channel].mean() for row in range(len(manifest))])


@pytest.mark.parametrize("name", LABELLERS)
def test_options_of_each_method(name: str) -> None:
    text = CliRunner().invoke(app, ["label", name, "--help"], env={"COLUMNS": "200"}).output
    words = {part for word in text.split() for part in word.strip(",│").split("/")[0].split(",")}
    assert set(OPTIONS[name].split()) <= words
    assert LABELLERS[name][1].split()[0] in text


def test_methods_are_imported_when_they_are_called() -> None:
    code = "import sys, train.cli; print(*({'torch', 'pyarrow', 'onnxruntime', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.usefixtures("folder")
def test_settings_of_an_own_method() -> None:
    run("label", "--method", "own_methods:Shade", "crops", "--out", "a.csv")
    np.testing.assert_allclose(read_table(Path("a.csv"))["shade"], means())
    settings = ["--set", "channel=2", "--set=negative=true", "--set", "weights=2,1"]
    run("label", "--method=own_methods:Shade", *settings, "--out", "b.csv", "crops")
    np.testing.assert_allclose(read_table(Path("b.csv"))["shade"], -2 * means(2) - 1)
    run("label", "own_methods:Shade", "crops", "--out", "c.csv", "--channel", "2", "--set", "negative=false")
    np.testing.assert_allclose(read_table(Path("c.csv"))["shade"], means(2))


@pytest.mark.usefixtures("folder")
def test_device_and_embeddings_reach_an_own_method() -> None:
    words = ["--embeddings", "e.npy", "--device", "cpu", "--set", "channel=1"]
    run("label", "--method", "own_methods:Vectors", "crops", "--out", "a.csv", *words)
    manifest = read_manifest(Path("crops"))
    np.testing.assert_array_equal(np.load("e.npy"), [manifest.load_face(row)[0, :4, 0] for row in range(12)])
    np.testing.assert_allclose(read_table(Path("a.csv"))["shade"], means(1))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["own_methods:Shade", "--set", "colour=1"], "--set is 'colour=1', wanted NAME=VALUE with one of: channel"),
        (["own_methods:Shade", "--set", "channel"], "wanted NAME=VALUE"),
        (["own_methods:Shade", "--set", "negative=maybe"], "wanted negative=true or negative=false"),
        (["own_methods:Shade", "--set", "channel=red"], "Invalid value for '--channel'"),
        (["own_methods:Shade", "--embeddings", "e.npy"], "'shade' gives no embeddings; leave out --embeddings"),
        (["own_methods:Shade", "--embeddings", "e.txt"], "wanted one of: .npy"),
        (["own_methods:NotOneEach"], "gave labels (), wanted (12,): one a face"),
        (["own_methods:Vectors"], "Missing option '--channel'"),
        (["own_methods:Taken"], "has a parameter 'source', which is an option of every run"),
        (["own_methods:Odd"], "has a parameter that cannot be an option"),
        (["own_methods:not_a_labeller"], "made a int, wanted a labeller"),
        (["own_methods:ANSWER"], "the method is a int, wanted a class or a function"),
        (["own_methods:MADE"], "the method is a Shade, wanted a class or a function"),
        (["own_methods:Absent"], "has no 'Absent'"),
        (["absent_module:Shade"], "there is no module 'absent_module'"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_is_wrong_with_an_own_method_is_said(words: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["label", "--method", *words, "crops", "--out", "a.csv"], env={"COLUMNS": "300"})
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())


@pytest.mark.usefixtures("folder")
def test_other_settings_do_not_go_on() -> None:
    """The journal of a run of an own method has its settings."""
    Path("a.csv.journal").write_text(
        '{"method": "own_methods:Shade", "channel": 1, "negative": false, "weights": "(1.0, 0.0)", '
        '"labeller": "shade", "embeddings": false, "rows": 12}\n'
    )
    words = ["label", "--method", "own_methods:Shade", "crops", "--out", "a.csv"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "channel=1, this one has channel=0" in " ".join(result.output.split())
    run(*words, "--set", "channel=1")


@pytest.mark.usefixtures("folder")
def test_own_networks_embed_and_label() -> None:
    out = run("embed", "crops", "--model", "own_methods:network", "--out", "e.npy", "--mean", "0")
    assert "12 embedded, 0 failed" in out
    manifest = read_manifest(Path("crops"))
    wanted = np.array([manifest.load_face(row)[..., ::-1].mean(axis=(0, 1)) / 255 for row in range(12)]) / 0.5
    np.testing.assert_allclose(np.load("e.npy"), wanted, rtol=1e-4)
    run("embed", "crops", "--model", "own_methods:network", "--out", "e.npy", "--mean", "0,0.5,0", "--std", "1,1,0.5")
    np.testing.assert_allclose(np.load("e.npy"), (wanted * 0.5 - [0, 0.5, 0]) / [1, 1, 0.5], rtol=1e-4)
    for mean in ("0.5,0.5", "a", ""):
        result = CliRunner().invoke(app, ["embed", "crops", "--out", "e.npy", "--mean", mean], env={"COLUMNS": "200"})
        assert result.exit_code == 2
        assert f"'--mean': {mean!r}, wanted one number" in result.output
    words = ["--model", "own_methods:network", "--k", "1", "-l", "1", "--device", "cpu", "--callers", "1"]
    run("label", "faceqan", "crops", "--out", "l.csv", *words)
    assert read_table(Path("l.csv"))["faceqan"].null_count == 0


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_an_own_method_on_ray() -> None:
    pytest.importorskip("ray", reason="Ray is not installed (the extra scale)")
    command = [str(Path(sys.executable).with_name("fiqa-train")), "label", "--method", "own_methods:Shade", "crops"]
    done = subprocess.run(
        [*command, "--out", "r.csv", "--engine", "ray", "--callers", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(read_table(Path("r.csv"))["shade"], means())

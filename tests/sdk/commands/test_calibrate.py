"""fiqa calibrate, with a tiny face-recognition model."""

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from sdk.commands.app import app
from sdk.decision.calibration import read_calibration
from tests.support.tiny_models import embedding_model, faces

pytest.importorskip("scipy", reason="needs the extra calibrate")
pytest.importorskip("matplotlib", reason="needs the extra calibrate")

PEOPLE, EACH = 40, 4


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a person: crops of noise that is the person's own, blurred in part, and a judge beside them."""
    folder = tmp_path_factory.mktemp("calibrate")
    rng = np.random.default_rng(0)
    for person, face in enumerate(faces(PEOPLE)):
        (folder / "people" / f"p{person}").mkdir(parents=True)
        for index in range(EACH):
            strength = rng.random()
            noise = rng.integers(-90, 90, face.shape) * strength
            crop = np.clip((1 - strength) * face + strength * 128 + noise, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / "people" / f"p{person}" / f"{index}.png"), crop)
    onnx.save(embedding_model(), folder / "fr.onnx")
    return folder


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["calibrate", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


def test_folders_of_people_give_a_calibration_and_a_picture(photos: Path, tiny_path: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "c.json", tmp_path / "c.png"
    code, text = run(
        photos / "people", "--fr", photos / "fr.onnx", "--aligned", "--model", tiny_path, "--fmr", "0.01",
        "--fnmr", "0.3", "--out", out, "--picture", picture,
    )  # fmt: skip
    assert code == 0, text
    found = read_calibration(out)
    assert (found.model, found.judge, found.people, found.images) == ("tiny", "fr", PEOPLE, PEOPLE * EACH)
    assert found.comparisons == PEOPLE * 6
    assert len(found.scores) >= 2
    assert f"{PEOPLE} people with several pictures, {PEOPLE * 6} comparisons, {found.errors} of them fail" in text
    assert len(found.thresholds) + len(found.undecided) == 1
    assert re.search(rf"lowest score compared: \S+; below it quality is at most {round(100 * found.rates[0])} ", text)
    assert cv2.imread(str(picture)).shape[1] > 500
    from hashlib import sha256

    from sdk.models.loading import load_model

    found.check_model("tiny", sha256(load_model(tiny_path).data).hexdigest())


def test_a_manifest_and_embeddings_will_do(photos: Path, tiny_path: Path, tmp_path: Path) -> None:
    paths = sorted((photos / "people").rglob("*.png"))
    with (photos / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["path", "identity"], *[[path.relative_to(photos), path.parent.name] for path in paths]]
        )
    vectors = np.stack([cv2.resize(cv2.imread(str(path)), (8, 8)).ravel() for path in paths]).astype(np.float32) - 128
    np.save(tmp_path / "vectors.npy", vectors)
    out = tmp_path / "c.json"
    options = ("--aligned", "--model", tiny_path, "--fmr", "0.01", "--out", out)
    code, text = run(photos / "manifest.csv", "--embeddings", tmp_path / "vectors.npy", *options)
    assert code == 0, text
    assert read_calibration(out).judge == "vectors"
    with (photos / "more.csv").open("w", newline="") as file:
        names = [[str(path.relative_to(photos)), path.parent.name] for path in paths]
        csv.writer(file).writerows([["path", "identity"], *names[:7], ["people/gone.png", "p0"], *names[7:]])
    np.save(tmp_path / "more.npy", np.insert(vectors, 7, 1e9, axis=0))  # the row of a picture that is left out
    again = tmp_path / "again.json"
    code, text = run(photos / "more.csv", "--embeddings", tmp_path / "more.npy", *options[:-1], again)
    assert code == 0, text
    assert "left out:" in text
    assert read_calibration(again) == replace(read_calibration(out), judge="more")
    np.save(tmp_path / "short.npy", vectors[1:])
    code, text = run(photos / "manifest.csv", "--embeddings", tmp_path / "short.npy", *options)
    assert code == 2
    assert "holds (159, 192), and there are 160 pictures; wanted a row of numbers for each picture" in text


def test_too_few_failures_give_no_quality(
    photos: Path, tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import pyplot as plt

    drawn: list[Any] = []
    monkeypatch.setattr(plt, "close", drawn.append)
    # All pictures of a person have one vector, so that no comparison fails.
    vectors = np.random.default_rng(0).standard_normal((PEOPLE, 32)).astype(np.float32).repeat(EACH, axis=0)
    np.save(tmp_path / "same.npy", vectors)
    code, text = run(
        photos / "people", "--embeddings", tmp_path / "same.npy", "--aligned", "--model", tiny_path, "--fmr", "0.01",
        "--fnmr", "0.01", "--fnmr", "0.2", "--out", tmp_path / "c.json", "--picture", tmp_path / "c.png",
    )  # fmt: skip
    assert code == 0, text
    found = read_calibration(tmp_path / "c.json")
    assert (found.errors, found.scores, found.quality(0.5)) == (0, (), None)
    assert "undecided: quality: a curve cannot be told: 0 of 240 comparisons fail, wanted 10 or more" in text
    assert "undecided: enrol: a threshold for an FNMR of 0.01 cannot be told: from score" in text
    (identify,) = found.thresholds
    assert f"score {identify.score:.3f} (at most {identify.score:.3f}) turns away 0.0%" in text
    assert f"lowest score compared: {identify.score:.3f} identify" in text
    (figure,) = drawn
    assert [axis.get_ylim() for axis in (figure.axes[0], figure.axes[2])] == [(0, 100), (0, 100)]
    assert figure.axes[0].texts[0].get_text() == "undecided: 0 of 240 comparisons fail"


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (np.zeros((PEOPLE * EACH, 0), np.float32), "holds (160, 0); wanted embeddings of two numbers or more"),
        (np.eye(PEOPLE * EACH, 8, dtype=np.float32), "row 8 of"),
        (np.full((PEOPLE * EACH, 8), np.nan, np.float32), "row 0 of"),
        (np.full((PEOPLE * EACH, 8), 1e300), "row 0 of"),
    ],
)
def test_embeddings_without_a_direction_are_refused(
    photos: Path, tiny_path: Path, tmp_path: Path, vectors: np.ndarray, words: str
) -> None:
    np.save(tmp_path / "e.npy", vectors)
    options = ("--aligned", "--threads", 1, "--model", tiny_path, "--fmr", "0.01", "--out", tmp_path / "c.json")
    code, text = run(photos / "people", "--embeddings", tmp_path / "e.npy", *options)
    assert code == 2
    assert words in text


def test_without_people_a_share_decides(photos: Path, tiny_path: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, path in enumerate(sorted((photos / "people").rglob("*.png"))):
        (flat / f"{index}.png").write_bytes(path.read_bytes())
    (flat / "broken.png").write_bytes(b"no picture")
    options = ("--aligned", "--model", tiny_path, "--out", tmp_path / "c.json")
    code, text = run(flat, "--discard", "0.1", *options)
    assert code == 0, text
    assert "left out:" in text
    assert "broken.png" in text
    assert "enrol (the worst 10.0%): score" in text
    assert read_calibration(tmp_path / "c.json").threshold("enrol").by == "discard"
    code, text = run(flat, "--fr", photos / "fr.onnx", *options)
    assert code == 2
    assert "names no people" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "wanted one of --fr, --embeddings and --discard"),
        (("--discard", "0.1", "--fnmr", "0.1"), "--discard knows no matches"),
        (("--fr", "fr.onnx", "--fr-mean", "a"), "'--fr-mean': 'a', wanted one number"),
        (("--fr", "fr.onnx", "--fr-colour", "red"), "--fr-colour is red"),
        (("--fr", "fr.onnx", "--fr-std", "0"), "'--fr-std': '0', wanted a deviation above 0"),
        (("--fr", "fr.onnx", "--fr-mean", "nan"), "'--fr-mean': 'nan', wanted"),
        (("--fr", "fr.onnx", "--fmr", "1e-9"), "12480 non-mated comparisons cannot fix an FMR of 1e-09"),
        (("--discard", "0.01"), "160 faces cannot tell the worst 1.0% of them, wanted 1000"),
        (("--fr", "none.onnx"), "none.onnx"),
        (("--fr", "yunet-2026may"), "yunet-2026may is a model for detection, wanted one for recognition"),
        (("--fr", "net.pth"), "net.pth is neither an ONNX file nor one of: w600k_mbf, w600k_r50"),
        (("--fr", "mine:load"), "; `fiqa-train embed CROPS --fr mine:load --out e.npy` embeds aligned crops by it"),
        (("--fr", "m.pt"), "then give `--aligned --embeddings e.npy` instead of --fr"),
        (
            ("--fr", "mobilefacenet128"),
            "only fiqa-train reads mobilefacenet128, the file mobilefacenet.pt; wanted one of: w600k_mbf, w600k_r50; "
            "`fiqa-train embed CROPS --fr mobilefacenet128 --out e.npy` embeds",
        ),
        (("--fr", "w600k_mbf"), "is not on this machine and FIQA_OFFLINE forbids the network"),
    ],
)
def test_wrong_options_are_named(
    photos: Path, tiny_path: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    given = [str(photos / name) if name.endswith(".onnx") else name for name in arguments]
    code, text = run(photos / "people", "--aligned", "--model", tiny_path, "--out", tmp_path / "c.json", *given)
    assert code in (1, 2)
    assert words in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "manifest.csv is not UTF-8"),
        (b"", "has 0 rows and the columns none; wanted path and identity"),
        (b"file,identity\na.png,ann\n", "has 1 row and the columns file, identity; wanted path and identity"),
        (b"path,identity\n", "has 0 rows and the columns path, identity"),
        (b"path,identity\na.png,ann\nb.png,\n", "row 2 of"),
        (b"identity,path\nann,a.png\nann\n", "has no path; complete it, or leave it out"),
        (b"path\na.png\n", "names no people"),
    ],
)
def test_manifests_that_say_too_little(tiny_path: Path, tmp_path: Path, content: bytes, words: str) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_bytes(content)
    np.save(tmp_path / "e.npy", np.zeros((1, 4), np.float32))
    given = ("--embeddings", tmp_path / "e.npy", "--model", tiny_path, "--out", tmp_path / "c.json")
    code, text = run(manifest, *given)
    assert code == 2
    assert words in text


def test_a_picture_without_memory_is_left_out(
    photos: Path, tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdk.images.decoding import load_image

    def load(path: Path, **limits: Any) -> Any:
        if path.parent.name == "p3":
            raise MemoryError
        return load_image(path, **limits)

    monkeypatch.setattr("sdk.calibrating.pictures.load_image", load)
    options = ("--aligned", "--model", tiny_path, "--out", tmp_path / "c.json")
    code, text = run(photos / "people", "--discard", "0.1", *options)
    assert code == 0, text
    assert "0.png: not enough memory for this picture" in text
    assert read_calibration(tmp_path / "c.json").images == (PEOPLE - 1) * EACH


def test_a_model_that_is_no_judge_is_refused(photos: Path, tiny_path: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "c.json")
    code, text = run(photos / "people", "--fr", tiny_path, "--aligned", "--model", tiny_path, *out)
    assert code == 1
    assert "check that it is a face-recognition model" in text

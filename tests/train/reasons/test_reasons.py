"""The network behind reasons: what it learns from, one command from photos to a file, and refusals."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from export.pipeline import export_model
from sdk import InputError
from sdk.alignment import TEMPLATE, align
from sdk.measuring.damage import OUTPUTS as MEASURED
from sdk.models.loading import load_model
from tests.support.device_waits import steps_without_waiting
from train.degradations.graded import DEGRADATIONS
from train.reasons.coverings import COVERED, cover
from train.reasons.dataset import DamagedFaces, DamageSettings
from train.reasons.faces import CleanFaces, yaw_of
from train.reasons.fit import damage_loss, fit_reasons
from train.reasons.outputs import KINDS, OUTPUTS

PHOTO = Path(__file__).parents[3] / "examples/media/astronaut.jpg"
EYES_NOSE_MOUTH = [(204, 103), (246, 104), (223, 127), (205, 144), (242, 145)]


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    return align(cv2.imread(str(PHOTO)), EYES_NOSE_MOUTH)


@pytest.fixture
def faces(crop: np.ndarray) -> CleanFaces:
    return CleanFaces(np.stack([crop] * 40), {}, np.linspace(0, 1, 40, dtype=np.float32))


def test_the_file_gives_what_is_learned() -> None:
    assert [name.replace("low_resolution", "resolution") for name in OUTPUTS] == list(MEASURED)
    assert tuple(DEGRADATIONS) == KINDS


def test_yaw_of_landmarks() -> None:
    assert yaw_of(TEMPLATE) == pytest.approx(0, abs=0.02)
    aside = TEMPLATE.copy()
    aside[2, 0] += 0.6 * 35.24  # as far as the nose stands before the eyes: 45 degrees
    assert yaw_of(aside) == pytest.approx(0.5, abs=0.02)


def test_items_are_random_by_seed_epoch_and_index_alone(faces: CleanFaces) -> None:
    one, other = (DamagedFaces(faces, DamageSettings(), 1, 0.5, seed=3) for _ in range(2))
    assert torch.equal(one[(2, 5)]["image"], other[(2, 5)]["image"])
    assert not torch.equal(one[(2, 5)]["image"], one[(3, 5)]["image"])


def test_kinds_and_grades(faces: CleanFaces) -> None:
    settings = DamageSettings(counts=(0, 1), often=("blur",), times=8.0)
    data = DamagedFaces(faces, settings, 5, 0.0, 0)
    grades = torch.stack([data[(0, index)]["grades"] for index in range(len(data))])
    assert ((grades > 0).sum(1) == 1).all()
    assert grades[grades > 0].min() >= 0.1
    assert (grades[:, KINDS.index("blur")] > 0).float().mean() == pytest.approx(8 / 15, abs=0.1)
    moved = torch.stack([data[(0, index)]["aligned"] for index in range(len(data))]) == 0
    assert torch.equal(moved, grades[:, KINDS.index("misalignment")] > 0)


def test_clean_and_covered_faces(faces: CleanFaces) -> None:
    data = DamagedFaces(faces, DamageSettings(counts=(1.0,), covered=0.5), 5, 0.0, 0)
    grades = torch.stack([data[(0, index)]["grades"] for index in range(len(data))])
    hidden = grades[:, KINDS.index("occlusion")]
    assert set(hidden.tolist()) == {0.0, COVERED}
    assert hidden.mean() == pytest.approx(0.25, abs=0.06)
    assert grades.sum() == pytest.approx(float(hidden.sum()))


def test_a_covering_hides_eyes_or_mouth(crop: np.ndarray) -> None:
    for seed in range(8):
        changed = np.abs(cover(crop, np.random.default_rng(seed)).astype(int) - crop).sum(-1) > 60
        eyes, mouth = changed[45:59, 30:82].mean(), changed[84:100, 44:68].mean()
        assert max(eyes, mouth) > 0.25
        assert changed.mean() < 0.5


def test_the_loss_leaves_out_the_yaw_of_moved_faces() -> None:
    batch = {"grades": torch.zeros(2, 8), "yaw": torch.tensor([0.0, 1.0]), "aligned": torch.tensor([1.0, 0.0])}
    terms = damage_loss(torch.zeros(2, 9), batch, True)
    assert terms["grades"].item() == pytest.approx(math.log(2))
    assert terms["yaw"].item() == pytest.approx(math.log(2))
    wrong = torch.zeros(2, 9)
    wrong[1, 8] = -50
    assert damage_loss(wrong, batch, True)["yaw"].item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"counts": (0.5, 0.4)}, "counts is"),
        ({"often": ("fog",)}, "often has 'fog'"),
        ({"covered": 1.5}, "covered is 1.5"),
        ({"times": 0.5}, "times is 0.5"),
    ],
)
def test_wrong_settings(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DamageSettings(**values)  # type: ignore[arg-type]


def test_from_photos_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = cv2.imread(str(PHOTO))[:300, 60:360]
    points = np.array(EYES_NOSE_MOUTH) - (60, 0)
    names = []
    for person in "abcdefgh":
        (tmp_path / "data/photos" / person).mkdir(parents=True)
        names.append(f"photos/{person}/1.png")
        cv2.imwrite(str(tmp_path / "data" / names[-1]), photo)
    marks = " ".join(str(value) for value in points.reshape(-1))
    rows = "".join(f"{name},{name.split('/')[1]},{marks}\n" for name in names)
    (tmp_path / "data/faces.csv").write_text(f"path,identity,landmarks\n{rows}")
    training = {"epochs": 1, "batch_size": 4, "groups": [{"lr": 1e-3}]}
    recipe = {
        "card": {"licence": "Apache-2.0"},
        "prepare": {"sources": [{"source": "faces.csv"}], "test": 0.0, "validation": 0.5},
        "training": training,
        "refine": {"damage": {"times": 2.0, "often": ["blur"]}, "training": {"epochs": 2}},
    }
    with steps_without_waiting(monkeypatch):
        fit_reasons(recipe, tmp_path / "data", tmp_path / "looked at")
    weights = fit_reasons(recipe, tmp_path / "data", tmp_path / "run")
    assert len(json.loads((tmp_path / "run/fit/history.json").read_text())) == 1
    assert len(json.loads((tmp_path / "run/refine/history.json").read_text())) == 2
    exported = export_model("fiqa-reasons", weights, tmp_path / "out").path
    card = load_model(exported).card
    assert (card.task, card.output, card.licence) == ("reasons", "grades", "Apache-2.0")
    grades = onnxruntime.InferenceSession(exported).run(None, {"faces": np.zeros((3, 112, 112, 3), np.uint8)})[0]
    assert grades.shape == (3, 9)
    assert ((grades >= 0) & (grades <= 1)).all()
    with pytest.raises(InputError, match="refine has no section 'epochs'"):
        fit_reasons({**recipe, "refine": {"epochs": 2}}, tmp_path / "data", tmp_path / "other")

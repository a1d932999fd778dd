"""The calibration of a recipe's network: on the people of the test, checked on the other half, into the card."""

import json
from pathlib import Path

import numpy as np
import pytest

from sdk.decision.calibration import Calibration
from sdk.errors import InputError
from sdk.models.card import METADATA_KEY
from tests.support.weights import tame_network
from train.data.manifest import make_manifest, write_table
from train.evaluation.plan import EvaluationPlan
from train.networks import save_network
from train.pipeline.calibrate import CalibrateSettings, calibrate_network
from train.pipeline.files import Files

PLAN = EvaluationPlan(sets=("clean",))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Forty people with four images each: the lower the score, the farther the embedding is from the person's."""
    rng, files = np.random.default_rng(0), Files(tmp_path)
    rows, vectors = [], []
    for person in range(40):
        centre = rng.normal(size=32)
        for index in range(4):
            score = rng.uniform(0, 1)
            path = f"p{person}/{index}.png"
            rows.append({"path": path, "identity": f"p{person}", "split": "test", "original": path, "degradation": ""})
            rows[-1]["fiqa-nano"] = score
            vectors.append(centre + 3.0 * (1 - score) * rng.normal(size=32))
    files.scores.parent.mkdir()
    write_table(make_manifest(rows, files.scores.parent).table, files.scores)
    np.save(files.scores_embeddings, np.array(vectors, np.float32))
    save_network(tame_network("fiqa-nano"), files.weights, {METADATA_KEY: json.dumps({"licence": "MIT"})})
    return files


def test_the_card_says_what_scores_mean_and_the_page_how_far_it_holds(files: Files) -> None:
    calibrate_network(CalibrateSettings(set="clean", fmr=0.01, fnmr=(0.1,)), PLAN, "fiqa-nano", files)
    from safetensors import safe_open

    with safe_open(files.weights, "pt") as file:
        card = json.loads(file.metadata()[METADATA_KEY])
    written = json.loads((files.folder / "calibration" / "calibration.json").read_text())
    assert card == {"licence": "MIT", "calibration": written}
    found = Calibration.from_dict(written)
    assert (found.model, found.judge, found.people, found.images, found.comparisons) == (
        "fiqa-nano", "teacher", 40, 160, 240,
    )  # fmt: skip
    assert found.quality(0.95) > found.quality(0.3) + 30  # type: ignore[operator]
    row = (files.folder / "calibration" / "reliability.md").read_text().splitlines()[2].split("|")
    assert row[1:3] == [" teacher ", " 240 "]
    assert 0 < float(row[4]) < 0.2
    assert (files.folder / "calibration" / "reliability.png").stat().st_size > 1000


def test_too_few_failures_give_no_curve_and_no_reliability(files: Files) -> None:
    # The vector of each image is that of its person's first one: no comparison of one person fails.
    np.save(files.scores_embeddings, np.repeat(np.load(files.scores_embeddings)[::4], 4, axis=0))
    calibrate_network(CalibrateSettings(set="clean", fmr=0.01, fnmr=(0.1,)), PLAN, "fiqa-nano", files)
    folder = files.folder / "calibration"
    written = Calibration.from_dict(json.loads((folder / "calibration.json").read_text()))
    assert (written.errors, written.scores, written.quality(0.5)) == (0, (), None)
    assert "0 of 240 comparisons fail, wanted 10 or more" in written.undecided[0]
    assert "0 of 120 comparisons fail, wanted 10 or more" in (folder / "reliability.md").read_text()
    assert not (folder / "reliability.png").exists()


def test_a_judge_that_is_not_evaluated_is_refused() -> None:
    with pytest.raises(InputError, match=r"calibrate.judge is 'edge', wanted a name of evaluate.judges: "):
        CalibrateSettings(judge="edge").check(PLAN)


@pytest.mark.parametrize(("values", "message"), [({"set": "dark"}, "set is 'dark'"), ({"fmr": 2.0}, "fmr is 2.0")])
def test_wrong_settings(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CalibrateSettings(**values)

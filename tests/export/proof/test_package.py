"""The files beside a model."""

import json
from pathlib import Path

import numpy as np
import pytest

from export.proof.compare import figures
from export.proof.package import as_json, check_folder, notice
from sdk import InputError, ModelCard
from sdk.proof.verify import compare_scores


def test_a_proof_of_rubbish_in_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "proof.npz").write_bytes(b"PK\5\6" + bytes(18))
    with pytest.raises(InputError, match="holds no array 'source'; give --out another folder"):
        check_folder(tmp_path, "0" * 64)


def test_scores_that_are_no_numbers_are_written_as_none() -> None:
    agreement = compare_scores(np.array([1, np.nan], np.float32), np.zeros(2, np.float32))
    assert figures({"cpu, batch 1": agreement}) == {}
    assert json.loads(as_json({"a": [agreement.largest, float("nan"), 1.5]})) == {"a": [None, None, 1.5]}


def test_a_notice_names_what_is_known() -> None:
    text = notice(ModelCard(name="x", source_sha256="ab" * 32)).decode()
    assert "Licence: unknown: that of the weights\n" in text
    assert f"Weights: SHA-256 {'ab' * 32}\n" in text
    card = ModelCard(name="x", licence="MIT", attribution="A", source="w.pth", source_sha256="ab" * 32)
    assert "Licence: MIT\nAttribution: A\nWeights: w.pth, SHA-256 abab" in notice(card).decode()

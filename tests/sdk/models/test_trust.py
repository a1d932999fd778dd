"""An engine is checked before anything loads it."""

from pathlib import Path

import pytest

from sdk import ModelError
from sdk.models.card import ModelCard
from sdk.models.loading import load_model
from sdk.models.trust import check_fit, remember_engine, was_built_here
from tests.support.fake_gpu import VERSION, write_engine

COMMAND = "build it again on the machine it is for: fiqa-export --model tiny"


def engine_card(path: Path) -> ModelCard:
    return load_model(path, trust=True).card


def test_an_engine_that_was_built_here(tmp_path: Path, own_store: Path) -> None:
    path = write_engine(tmp_path)
    remember_engine(engine_card(path).engine.sha256)
    model = load_model(path)
    assert model.data == path.read_bytes()
    assert model.card.format == "tensorrt"
    assert [file.name for file in (own_store / "engines" / "built").iterdir()] == [model.card.engine.sha256]


def test_an_engine_of_another_machine_needs_trust(tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    with pytest.raises(ModelError, match=r"was not built on this machine.*trust=True \(--trust\); else " + COMMAND):
        load_model(path)
    assert load_model(path, trust=True).card.name == "tiny"


@pytest.mark.parametrize("where", [0, 10, -1])
def test_an_engine_altered_by_one_byte(where: int, tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=rf"has SHA-256 \w+, its card says \w+: it is damaged, altered.*{COMMAND}"):
        load_model(path, trust=True)


def test_a_card_without_a_hash_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its card says None"):
        load_model(write_engine(tmp_path, card={"sha256": ""}), trust=True)


def test_an_engine_without_its_card(tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"tiny\.engine has no card: .*tiny\.json cannot be read.*copy it there"):
        load_model(path, trust=True)


def test_a_card_of_another_format(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is an engine, but its card says 'onnx'"):
        load_model(write_engine(tmp_path, "onnx"), trust=True)


def test_an_engine_of_another_version(tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    with pytest.raises(ModelError, match=rf"was built by tensorrt {VERSION}, installed is 10\.3\.0.*{COMMAND}"):
        check_fit(path, engine_card(path), "10.3.0", "8.6")


def test_an_engine_of_another_gpu(tmp_path: Path) -> None:
    path = write_engine(tmp_path, card={"architectures": ["8.6", "8.9"]})
    check_fit(path, engine_card(path), VERSION, "8.9")
    with pytest.raises(ModelError, match=rf"compute capability 8\.6, 8\.9, this one has 12\.0; {COMMAND}"):
        check_fit(path, engine_card(path), VERSION, "12.0")


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "file"))
    remember_engine("00")
    assert "the cache cannot be written" in caplog.text
    assert not was_built_here("00")

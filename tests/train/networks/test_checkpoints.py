"""Checkpoints: strict loading, and state dicts that are wrapped, damaged or hostile."""

import argparse
import io
import os
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sdk.errors import ModelError
from tests.support.weights import tame_network
from train.networks import identify, load_network, read_state, save_network


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_checkpoints_load(suffix: str, tmp_path: Path) -> None:
    network = tame_network("fiqa-nano")
    path = tmp_path / f"nano{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{key}": value for key, value in network.state_dict().items()}}, path)
    else:
        save_network(network, path)
    loaded = load_network("fiqa-nano", path)
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())
    assert identify(read_state(path)) == "fiqa-nano"


@pytest.mark.parametrize(
    ("name", "backbone", "head"),
    [
        ("mobilefacenet-linear", "base.", "linear."),  # DifFIQA(R)
        ("mobilefacenet-linear", "base_model.", "regressor."),  # transfer learning
        ("ediffiqa-t", "feature_extractor.", "quality_head."),  # AI-KD
    ],
)
def test_checkpoints_with_the_names_of_published_ones_load(name: str, backbone: str, head: str, tmp_path: Path) -> None:
    state = tame_network(name).state_dict()
    renamed = {
        key.replace("base_model.", backbone, 1)
        if key.startswith("base_model.")
        else key.replace("mlp.", head, 1): value
        for key, value in state.items()
    }
    assert renamed.keys() != state.keys()
    torch.save(renamed, tmp_path / "w.pth")
    loaded = load_network(name, tmp_path / "w.pth").state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in state.items())


def test_wrong_variant_says_which_it_is(tmp_path: Path) -> None:
    save_network(tame_network("fiqa-nano"), tmp_path / "nano.safetensors")
    with pytest.raises(ModelError, match=r"missing keys, first 'base_model.conv1.conv.weight'") as raised:
        load_network("ediffiqa-t", tmp_path / "nano.safetensors")
    assert "unexpected keys, first 'base_model.conv1.0.weight'" in str(raised.value)
    assert "checkpoint of fiqa-nano" in str(raised.value)


def test_wrong_shape_is_named(tmp_path: Path) -> None:
    state = tame_network("fiqa-nano").state_dict()
    save_file({**state, "mlp.l2.weight": torch.zeros(2, 512)}, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match=r"'mlp.l2.weight' has shape \(2, 512\), wanted \(1, 128\)"):
        load_network("fiqa-nano", tmp_path / "odd.safetensors")


class NotATensor:
    """What an unpickler must not make."""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.pth", None, "no checkpoint at"),
        ("text.pth", b"hello", "not a checkpoint of tensors only"),
        ("text.safetensors", b"hello", "not a safetensors file"),
        ("model.onnx", b"", "wanted .safetensors or .pth"),
    ],
)
def test_bad_files(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_state(tmp_path / name)


STATE = {"w": torch.arange(6.0).view(2, 3), "b": torch.ones(2), "n.num_batches_tracked": torch.tensor(4)}
OTHER = {key: value + 1 for key, value in STATE.items()}


def prefixed(prefix: str, state: dict[str, torch.Tensor] = STATE) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in state.items()}


def fits(state: dict[str, torch.Tensor]) -> bool:
    return state.keys() == STATE.keys()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pth", prefixed("module._orig_mod.module.")),
        ("a.ckpt", {"state_dict": {**prefixed("model._orig_mod."), "loss.weight": torch.ones(9)}, "epoch": 3}),
        ("a.PT", {"params": prefixed("net.", OTHER), "params_ema": STATE}),
        ("a.bin", {"network": {"weights": STATE}}),
        ("a.pth.tar", {"model": OTHER, "model_ema": prefixed("module."), "optimizer": {"state": {0: OTHER}}}),
        ("a.pt", {"state_dict": OTHER, "state_dict_ema": STATE, "args": argparse.Namespace(lr=0.1)}),
        ("a.pt", {"model": OTHER, "ema": {**prefixed("online_model.", OTHER), **prefixed("ema_model.")}}),
        ("a.pt", {"n_averaged": torch.tensor(2), **prefixed("module.")}),
        ("a.pt", {"state_dict": {}, "model": {}, "net": STATE}),
        ("a.pt", {"teacher": STATE, "epoch": 1}),
        ("a.pt", {"epoch": 1, "best": 0.5, **STATE}),
        ("a.pt", {"state_dict": {**prefixed("model.", OTHER), **prefixed("ema_model.")}}),
    ],
)  # fmt: skip
def test_what_weights_are_wrapped_in(name: str, content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / name)
    found = read_state(tmp_path / name, fits)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], value) for key, value in STATE.items())


def test_prefixes_in_safetensors_and_older_files(tmp_path: Path) -> None:
    save_file(prefixed("_orig_mod."), tmp_path / "a.SAFETENSORS")
    torch.save(prefixed("module."), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("a.SAFETENSORS", "old.pth"):
        for found in (read_state(tmp_path / name, fits), read_state(tmp_path / name)):
            assert all(torch.equal(found[key], value) for key, value in STATE.items())


def test_the_choice_is_said_or_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save({"model": OTHER, "ema": STATE}, tmp_path / "a.pt")
    with caplog.at_level("INFO"):
        assert torch.equal(read_state(tmp_path / "a.pt", fits)["b"], STATE["b"])
    assert "the weights in 'ema' are taken, not those in 'model'" in caplog.text
    assert torch.equal(read_state(tmp_path / "a.pt", fits, ("model",))["b"], OTHER["b"])
    torch.save({"teacher": OTHER, "student": STATE}, tmp_path / "b.pt")
    with pytest.raises(ModelError, match="holds 'teacher' and 'student'"):
        read_state(tmp_path / "b.pt", fits)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.empty(3, device="meta"), "on meta"),
        (torch.ones(3, dtype=torch.complex64), "complex64"),
        (torch.ones(1).expand(2**30), "more than the file stores"),
    ],
)
def test_tensors_that_are_no_weights(value: torch.Tensor, message: str, tmp_path: Path) -> None:
    torch.save({"w": value, "b": torch.ones(2)}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=message):
        read_state(tmp_path / "a.pth")


def test_views_and_half_precision_load(tmp_path: Path) -> None:
    network = tame_network("fiqa-nano")
    state = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    state["mlp.l1.weight"] = state["mlp.l1.weight"].t().contiguous().t()
    torch.save(state, tmp_path / "a.pth")
    loaded = load_network("fiqa-nano", tmp_path / "a.pth").state_dict()
    assert all(torch.equal(loaded[key], value.to(loaded[key].dtype)) for key, value in state.items())
    torch.save({**state, "mlp.l1.weight": state["mlp.l1.weight"].to(torch.int8)}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"torch\.int8, wanted floating-point"):
        load_network("fiqa-nano", tmp_path / "a.pth")


def test_archives_that_claim_more_than_they_have(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}

    def packed(path: Path, compression: int, contents: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, data in contents.items():
                archive.writestr(name, data)
        return path

    with pytest.raises(ModelError, match="is compressed"):
        read_state(packed(tmp_path / "b.pth", zipfile.ZIP_DEFLATED, {**contents, "a/data/9": bytes(10**7)}))
    short = {name: data[:4] if name == "a/data/0" else data for name, data in contents.items()}
    with pytest.raises(ModelError, match=r"b\.pth"):
        read_state(packed(tmp_path / "b.pth", zipfile.ZIP_STORED, short))
    for end in (0, 10, len(whole) // 2, len(whole) - 30):
        (tmp_path / "c.pth").write_bytes(whole[:end])
        with pytest.raises(ModelError, match=r"c\.pth"):
            read_state(tmp_path / "c.pth")
    (tmp_path / "d.pth").mkdir()
    os.mkfifo(tmp_path / "e.pth")
    for name, kind in (("d.pth", "Is a directory"), ("e.pth", "is a pipe")):
        with pytest.raises(ModelError, match=kind):
            read_state(tmp_path / name)


def test_pickled_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": NotATensor()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match="tensors only"):
        read_state(tmp_path / "evil.pth")
    torch.save({"epoch": 3}, tmp_path / "plain.pth")
    with pytest.raises(ModelError, match="wanted a state dict"):
        read_state(tmp_path / "plain.pth")

"""Face-recognition models by name, a user's own, and devices."""

import copy
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sdk.errors import InputError, ModelError
from sdk.models.catalog import catalog
from tests.support.weights import tame_network
from train.networks import QualityNetwork, save_network
from train.networks.recognition import device_of, fingerprint, load_recognition_model

VALUE = "a value, and no function"


def own_network() -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(147, 8))


def not_a_network() -> int:
    return 3


def test_own_network() -> None:
    model = load_recognition_model(f"{__name__}:own_network", mean=(0.25, 0.25, 0.25), std=(0.5, 0.5, 0.5))
    faces = torch.rand((2, 3, 112, 112))
    torch.testing.assert_close(model(faces), model.network((faces - 0.25) / 0.5))
    assert model(faces).shape == (2, 8)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("iresnet50", InputError, "needs its weights"),
        ("ediffiqa-t", InputError, "ediffiqa-t needs its weights"),
        ("fiqa-nano", InputError, "fiqa-nano is a quality network that gives no embeddings"),
        (
            "nothing",
            InputError,
            "unknown model 'nothing', wanted one of: ediffiqa-t, .*mobilefacenet128, .*cosface_r100, an ONNX file",
        ),
        ("yunet-2026may", ModelError, "is a model for detection, wanted one for recognition: w600k_mbf"),
        ("absent.pt", ModelError, "absent.pt cannot be read"),
        ("no_such_module:f", InputError, "there is no module 'no_such_module'"),
        (f"{__name__}:absent", InputError, "has no 'absent'"),
        (f"{__name__}:VALUE", InputError, "wanted a function"),
        (f"{__name__}:not_a_network", InputError, "gives a int"),
        (f"{__name__}:fails", InputError, r"fails\(\) failed: ValueError: no weights here; correct it"),
    ],
)
def test_bad_models(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_recognition_model(name)


class Gives(nn.Module):
    """Changes the embeddings of `own_network`."""

    def __init__(self, change: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.network, self.change = own_network(), change

    def forward(self, faces: torch.Tensor) -> Any:
        return self.change(self.network(faces))


CHANGES: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "a_tuple": (lambda x: (x, x), r"gives a tuple for 1 face of 112 x 112 pixels; wanted embeddings, .*\(1, D\)"),
    "a_map": (lambda x: x[..., None, None], r"gives float32 \(1, 8, 1, 1\) for 1 face"),
    "one_value": (lambda x: x[:, :1], r"gives float32 \(1, 1\) for 1 face"),
    "one_face": (lambda x: x[:1], r"gives float32 \(1, 8\) for 2 faces"),
    "integers": (lambda x: x.long(), r"gives int64 \(1, 8\)"),
    "no_numbers": (lambda x: x / 0, "gives NaN or infinity"),
    "an_error": (
        lambda x: x @ x,
        r"fails on RGB faces \(N, 3, 112, 112\): RuntimeError: mat1 and mat2 .*; give --size",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_module_without_embeddings_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, message = CHANGES[name]
    monkeypatch.setattr(sys.modules[__name__], "own_module", lambda: Gives(change), raising=False)
    with pytest.raises(ModelError, match=f"^{__name__}:own_module {message}"):
        load_recognition_model(f"{__name__}:own_module")


def test_the_error_on_the_cpu_is_said_where_a_gpu_does_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "own_module", lambda: Gives(lambda x: x @ x), raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ModelError, match=r"fails on RGB faces .*: RuntimeError: mat1 and mat2 .*; give --size"):
        load_recognition_model(f"{__name__}:own_module")


@pytest.mark.parametrize("ending", [".pt", ".pt2"])
def test_files_of_torch_for_another_size_ask_for_it(ending: str, tmp_path: Path) -> None:
    network, faces = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8)), torch.rand(2, 3, 32, 32)
    path = tmp_path / f"fr{ending}"
    if ending == ".pt":
        torch.jit.save(torch.jit.trace(network, faces), path)
    else:
        torch.export.save(torch.export.export(network, (faces,)), path)
    with pytest.raises(ModelError, match=r"fails on RGB faces \(N, 3, 112, 112\): [^;]*; give --size"):
        load_recognition_model(str(path))
    assert load_recognition_model(str(path), size=32)(FACES).shape == (3, 8)


def fails() -> nn.Module:
    raise ValueError("no weights here")


FACES = torch.rand((3, 3, 112, 112), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("ending", [".pt", ".pt2"])
def test_files_of_torch(ending: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, path = own_network().eval(), tmp_path / f"fr{ending}"
    if ending == ".pt":
        torch.jit.save(torch.jit.trace(network, FACES), path)
    else:
        torch.export.save(torch.export.export(network, (FACES[:2],)), path)
    model = load_recognition_model(str(path), mean=(0.25,) * 3).eval()
    wanted = network((FACES - 0.25) / 0.5)
    torch.testing.assert_close(model(FACES), wanted)
    torch.testing.assert_close(copy.deepcopy(model)(FACES), wanted)
    assert fingerprint(model) != fingerprint(load_recognition_model(str(path)))
    faces = FACES.clone().requires_grad_()
    model(faces).sum().backward()
    assert faces.grad is not None
    assert faces.grad.abs().sum() > 0
    with pytest.raises(InputError, match="loads its own weights"):
        load_recognition_model(str(path), path)


def test_a_distilled_network_embeds(tmp_path: Path) -> None:
    network = tame_network("ediffiqa-t")
    save_network(network, tmp_path / "t.safetensors")
    model = load_recognition_model("ediffiqa-t", tmp_path / "t.safetensors").eval()
    assert isinstance(network, QualityNetwork)
    with torch.inference_mode():
        torch.testing.assert_close(model(FACES), network.features_and_quality(2 * FACES - 1)[0])


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    torch.save(own_network().state_dict(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"is no TorchScript file\. If it holds weights only, give the network's name"):
        load_recognition_model(str(tmp_path / "w.pt"))


def test_size_and_colour() -> None:
    model = load_recognition_model(
        f"{__name__}:shows_its_input", mean=(0.0,) * 3, std=(1.0,) * 3, colour="BGR", size=64
    )
    assert model(FACES).shape == (3, 3 * 64 * 64)
    blue, red = model(FACES)[:, 0], FACES[:, 2, :2, :2].mean((1, 2))
    torch.testing.assert_close(blue, red, atol=0.2, rtol=0)
    plain = load_recognition_model(f"{__name__}:shows_its_input")
    assert fingerprint(plain) != fingerprint(model)
    for wrong, message in (({"colour": "red"}, "wanted RGB or BGR"), ({"size": 5}, "wanted 16 to 1024")):
        with pytest.raises(InputError, match=message):
            load_recognition_model(f"{__name__}:shows_its_input", **wrong)  # type: ignore[arg-type]


def shows_its_input() -> nn.Module:
    return nn.Flatten()


def test_a_checkpoint_of_the_catalogue_under_another_name_than_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tame_network("mobilefacenet128")
    save_network(network, tmp_path / "other.safetensors")
    entry = dataclasses.replace(
        catalog()["cosface_r100"], card=dataclasses.replace(catalog()["cosface_r100"].card, variant="mobilefacenet128")
    )
    monkeypatch.setattr("train.networks.recognition.models.catalog", lambda: {"other": entry})
    fetched = []
    monkeypatch.setattr(
        "train.networks.recognition.models.fetch_model",
        lambda name: fetched.append(name) or tmp_path / f"{name}.safetensors",
    )
    faces = torch.rand((2, 3, 112, 112))
    model = load_recognition_model("other")
    given = load_recognition_model("mobilefacenet128", tmp_path / "other.safetensors")
    torch.testing.assert_close(model(faces), given(faces))
    assert fetched == ["other"]


def test_missing_checkpoints_and_devices(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoint"):
        load_recognition_model("mobilefacenet128", tmp_path / "absent.pth")
    with pytest.raises(InputError, match="is not there"):
        device_of("nonsense")

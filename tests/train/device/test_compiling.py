"""torch.compile: when, and how often. Counted with a stand-in for the compiler, which takes a minute."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdk.errors import InputError
from tests.support.weights import tame_diffusion, tame_network
from train.device.compiling import CompiledForAttack, compile_errors, worth_compiling
from train.labelling.method import label_images
from train.methods import faceqan
from train.methods.diffiqa import DifFIQALabeller, DifFIQASettings
from train.methods.faceqan import FaceQANLabeller, FaceQANSettings
from train.networks import save_network
from train.networks.recognition import RecognitionModel

GPU, CPU = torch.device("cuda"), torch.device("cpu")
FACES = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), np.uint8)
KEYS = ["a"]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes that the compiler was given; the graphs run as they are."""
    torch._dynamo.reset()
    shapes: list[tuple[int, ...]] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        values = [value for value in inputs if isinstance(value, Tensor) and not isinstance(value, nn.Parameter)]
        shapes.append(tuple(max(values, key=torch.numel).shape))
        return graph.forward

    original = torch.compile

    def stand_in(*arguments: Any, **options: Any) -> Any:
        return original(*arguments, **{**options, "backend": backend})

    monkeypatch.setattr(torch, "compile", stand_in)
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: _compile_in_place(self, stand_in, options))
    return shapes


def _compile_in_place(module: nn.Module, compiler: Callable[..., Any], options: dict[str, Any]) -> None:
    module._compiled_call_impl = compiler(module._call_impl, **options)


def tools(monkeypatch: pytest.MonkeyPatch, triton: bool, compiler: bool, header: bool = True) -> None:
    monkeypatch.setattr("train.device.compiling.HEADER", Path(__file__ if header else "Python.h"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("train.device.compiling.find_spec", lambda name: triton or None)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/cc" if compiler and name == "gcc" else None)


@pytest.mark.parametrize(
    ("device", "images", "triton", "compiler", "wanted"),
    [
        (GPU, 1000, True, True, True),
        (GPU, 999, True, True, False),
        (CPU, 1000, True, True, False),
        (GPU, 1000, False, True, False),
        (GPU, 1000, True, False, False),
    ],
)
def test_only_a_long_run_on_a_gpu_with_the_tools_compiles(
    device: torch.device, images: int, triton: bool, compiler: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(monkeypatch, triton, compiler)
    assert worth_compiling(device, images, 1000) == wanted


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    tools(monkeypatch, False, False, False)
    worth_compiling(GPU, 5, 5)
    assert "triton and a C compiler and Python.h is missing" in caplog.text


def test_an_old_gpu_does_not_compile(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    tools(monkeypatch, True, True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    assert not worth_compiling(GPU, 5, 5)
    assert "a GPU of compute capability 7.0 is missing" in caplog.text


def test_one_shape_is_compiled_and_serves_with_and_without_gradients(compiled: list[tuple[int, ...]]) -> None:
    network = nn.Conv2d(3, 2, 3).requires_grad_(False)
    module, images = CompiledForAttack(network), torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(module(images[:2]), network(images[:2]))
    for _ in range(3):
        leaf = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(module(leaf).sum(), leaf)
        again = images.clone().requires_grad_()
        torch.testing.assert_close(gradient, torch.autograd.grad(network(again).sum(), again)[0])
    with torch.no_grad():
        found = module(images)
    assert not found.requires_grad
    torch.testing.assert_close(found, network(images))
    assert compiled == [(4, 3, 8, 8)]


def recognition() -> RecognitionModel:
    return RecognitionModel(tame_network("mobilefacenet128"), (0.5,) * 3, (0.5,) * 3).eval()


def test_faceqan_compiles_once_and_labels_stay(compiled: list[tuple[int, ...]]) -> None:
    model, settings = recognition(), FaceQANSettings(iterations=2, copies=3)
    labellers = [FaceQANLabeller(model, settings, embed=False, compiled=flag) for flag in (False, True)]
    plain, found = (labeller(FACES, KEYS)["faceqan"] for labeller in labellers)
    again = pickle.loads(pickle.dumps(labellers[1]))(FACES, KEYS)["faceqan"]
    np.testing.assert_allclose(found, plain, atol=2e-5)
    np.testing.assert_allclose(again, plain, atol=2e-5)
    assert set(compiled) == {(3, 3, 112, 112)}
    assert labellers[1].record == {**labellers[0].record, "compile": True}


def test_diffiqa_compiles_its_unet_once_and_labels_stay(compiled: list[tuple[int, ...]]) -> None:
    diffusion, model, settings = tame_diffusion(8), recognition(), DifFIQASettings(t=1, repetitions=1)
    labellers = [DifFIQALabeller(diffusion, model, settings, embed=False, compiled=flag) for flag in (False, True)]
    plain, found = (labeller(FACES, KEYS)["diffiqa"] for labeller in labellers)
    np.testing.assert_allclose(found, plain, atol=2e-5)
    assert compiled == [(2, 3, 112, 112)]
    assert labellers[1].record == {**labellers[0].record, "compile": True}


def test_errors_of_the_compiler_say_what_to_do() -> None:
    from torch._dynamo.exc import TorchDynamoException

    with pytest.raises(InputError, match=r"no compiler here.*--no-compile"), compile_errors():
        raise TorchDynamoException("no compiler here")
    with pytest.raises(RuntimeError, match="another"), compile_errors():
        raise RuntimeError("another")


@pytest.mark.parametrize(("asked", "images", "wanted"), [(None, 4, True), (None, 3, False), (False, 4, False)])
def test_the_number_of_images_decides(
    asked: bool | None, images: int, wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `label_images` gives it, on a device that stands for a GPU."""
    made: list[dict[str, Any]] = []

    def method(expected_images: int, device: str) -> FaceQANLabeller:
        weights = {"model": "mobilefacenet128", "weights": tmp_path / "w.safetensors"}
        options = {"settings": FaceQANSettings(), "compiled": asked, "expected_images": expected_images}
        made.append(FaceQANLabeller.load(device="cuda", **weights, **options).record)
        few = FaceQANSettings(iterations=1, copies=1)
        return FaceQANLabeller.load(few, device=device, embed=False, **weights)

    tools(monkeypatch, True, True)
    monkeypatch.setattr(faceqan, "COMPILE_FROM", 4)
    save_network(tame_network("mobilefacenet128"), tmp_path / "w.safetensors")
    for number in range(images):
        cv2.imwrite(str(tmp_path / f"{number}.png"), FACES[0])
    label_images(method, {}, tmp_path, tmp_path / "labels.csv")
    assert ("compile" in made[0]) == wanted

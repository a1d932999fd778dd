"""Model files, cards, proofs and checkpoints."""

import hashlib
import json
import logging
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from export.inspection import inspect_file
from hostile.cards import odd_card, odd_text
from hostile.checkpoints import CHECKPOINTS, odd_npz
from hostile.inputs import Input, mutate, pick
from hostile.onnx_files import change_model, change_wire, detector, quality_network, wire
from sdk import FaceDetector, QualityScorer
from sdk.errors import ModelError
from sdk.models.card import ModelCard
from sdk.models.loading import load_model
from sdk.proof.verify import PROOF_FILE, load_proof
from train.networks import load_network, read_state

FACES = np.full((2, 112, 112, 3), 100, np.uint8)
CARD = {"name": "hostile", "variant": "ediffiqa-t", "source_sha256": "0" * 64}
NETWORKS = ("fiqa-nano", "mobilefacenet128", "no-such-network")


def warm_up() -> None:
    """Have all libraries loaded before memory is measured."""
    logging.disable(logging.WARNING)
    place = Path("warm.onnx")
    place.write_bytes(quality_network())
    QualityScorer(place, "cpu", 1).score_batch(FACES)
    inspect_file(place)
    from sdk.runtimes import openvino  # noqa: F401


@cache
def _packaged(name: str) -> bytes:
    import sdk.models

    return Path(next(iter(sdk.models.__path__)), f"{name}.onnx").read_bytes()


def draw_input(draw: random.Random) -> Input:
    """A file of any kind, hostile in any way."""
    kinds = {_onnx: 45, _detector: 8, _onnx_card: 10, _card: 12, _openvino: 8, _engine: 5, _proof: 6, _checkpoint: 16}
    return draw.choices(list(kinds), list(kinds.values()))[0](draw)


def _damaged(draw: random.Random, data: bytes) -> tuple[bytes, str]:
    change = draw.choices((change_model, change_wire, mutate), (5, 5, 2))[0]
    return change(draw, data)


def _onnx(draw: random.Random) -> Input:
    door = draw.choices(("scorer", "load", "inspect", "source"), (60, 20, 15, 5))[0]
    packaged = door == "source" or draw.random() < 0.05
    data, about = _damaged(draw, _packaged("fiqa-nano") if packaged else quality_network())
    return Input(door, {"model.onnx": data}, about)


def _detector(draw: random.Random) -> Input:
    data, about = _damaged(draw, _packaged("fiqa-detector") if draw.random() < 0.2 else detector())
    return Input("detector", {"model.onnx": data}, f"detector: {about}")


def _onnx_card(draw: random.Random) -> Input:
    """A good file with a bad card in it."""
    card, about = odd_card(draw, CARD)
    text = json.dumps(card).encode() if draw.random() < 0.8 else odd_text(draw, CARD)
    entry = wire(1 << 3 | 2, b"fiqa_card") + wire(2 << 3 | 2, text)
    return Input(
        draw.choice(("scorer", "load", "inspect", "detector")),
        {"model.onnx": quality_network() + wire(14 << 3 | 2, entry)},
        f"card: {about}",
    )


def _card(draw: random.Random) -> Input:
    card, about = odd_card(draw, CARD)
    if draw.random() < 0.6:
        return Input("card", {"card.json": json.dumps(card).encode()}, about)
    text = odd_text(draw, CARD) if draw.random() < 0.6 else mutate(draw, json.dumps(CARD).encode())[0]
    return Input("card", {"card.json": text}, "a text that is no card")


# OpenVINO IR


def _layer(
    number: int, name: str, kind: str, data: str, given: list[tuple[str, list[int]]], made: list[tuple[str, list[int]]]
) -> str:
    def ports(what: str, values: list[tuple[str, list[int]]], start: int) -> str:
        named = f' names="{name}"' if what == "output" else ""
        rows = []
        for place, (precision, dims) in enumerate(values, start):
            sides = "".join(f"<dim>{dim}</dim>" for dim in dims)
            rows.append(f'<port id="{place}" precision="{precision}"{named}>{sides}</port>')
        return f"<{what}>{''.join(rows)}</{what}>" if values else ""

    ends = ports("input", given, 0) + ports("output", made, len(given))
    return f'<layer id="{number}" name="{name}" type="{kind}" version="opset1"><data {data} />{ends}</layer>'


def openvino_ir() -> tuple[str, bytes]:
    """The mean of the pixels: `.xml` and `.bin`."""
    image, rows, scores = [-1, 112, 112, 3], [-1], [-1, 1]
    layers = [
        _layer(0, "faces", "Parameter", 'shape="?,112,112,3" element_type="u8"', [], [("U8", image)]),
        _layer(1, "f", "Convert", 'destination_type="f32"', [("U8", image)], [("FP32", image)]),
        _layer(2, "axes", "Const", 'element_type="i64" shape="3" offset="0" size="24"', [], [("I64", [3])]),
        _layer(3, "m", "ReduceMean", 'keep_dims="false"', [("FP32", image), ("I64", [3])], [("FP32", rows)]),
        _layer(4, "s", "Const", 'element_type="i64" shape="2" offset="24" size="16"', [], [("I64", [2])]),
        _layer(5, "quality", "Reshape", 'special_zero="true"', [("FP32", rows), ("I64", [2])], [("FP32", scores)]),
        _layer(6, "quality/sink", "Result", "", [("FP32", scores)], []),
    ]
    edges = ((0, 0, 1, 0), (1, 1, 3, 0), (2, 0, 3, 1), (3, 2, 5, 0), (4, 0, 5, 1), (5, 2, 6, 0))
    lines = (f'<edge from-layer="{a}" from-port="{b}" to-layer="{c}" to-port="{d}" />' for a, b, c, d in edges)
    parts = f"<layers>{''.join(layers)}</layers><edges>{''.join(lines)}</edges>"
    xml = f'<?xml version="1.0"?><net name="g" version="11">{parts}</net>'
    return xml, np.array([1, 2, 3, -1, 1], np.int64).tobytes()


def _openvino(draw: random.Random) -> Input:
    xml, weights = openvino_ir()
    kind = draw.randrange(7)
    if kind == 0:
        xml = mutate(draw, xml.encode())[0].decode("latin-1")
    elif kind == 1:
        old = draw.choice(
            (
                'offset="0"',
                'size="24"',
                'shape="3"',
                "<dim>112</dim>",
                'id="1"',
                'type="Convert"',
                'version="11"',
                "i64",
                "?,112,112,3",
            )
        )
        new = draw.choice(
            (
                "0",
                "-1",
                "99999999999999",
                "",
                "u1",
                "../../etc/passwd",
                "&a;",
                'offset="18446744073709551615"',
                "<dim>-5</dim>",
            )
        )
        xml = xml.replace(
            old,
            new if "=" in new or "<" in new else f'{old.partition("=")[0]}="{new}"' if "=" in old else new,
            draw.choice((1, -1)),
        )
    elif kind == 2:
        bomb = (
            '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
            + "".join(
                f'<!ENTITY {chr(98 + i)} "{"&" + chr(97 + i) + ";"}{("&" + chr(97 + i) + ";") * 9}">' for i in range(8)
            )
            + "]>"
        )
        xml = xml.replace('?><net name="g"', f'?>{bomb}<net name="&i;"')
    elif kind == 3:
        xml = xml.replace("<layers>", "<layers>" * draw.choice((2, 5000)))
    elif kind == 4:
        weights = mutate(draw, weights)[0]
    card = {**CARD, "format": "openvino"}
    data = xml.encode("latin-1", "replace")
    if draw.random() < 0.8:  # else without a hash
        card["engine"] = {"sha256": hashlib.sha256(data + weights).hexdigest(), "version": "2026"}  # type: ignore[assignment]
    text = json.dumps(odd_card(draw, card)[0] if kind == 5 else card).encode()
    files = {"model.xml": data, "model.bin": weights, "model.json": odd_text(draw, card) if kind == 6 else text}
    if draw.random() < 0.1:
        del files[draw.choice(("model.bin", "model.json"))]
    return Input(draw.choice(("scorer", "load", "inspect")), files, f"openvino {kind}", {"trust": draw.random() < 0.5})


def _engine(draw: random.Random) -> Input:
    data = draw.choice((b"ftrt" + draw.randbytes(200), b"", draw.randbytes(1000), quality_network()))
    engine: dict[str, Any] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "version": "10.3.0",
        "architectures": ["8.6"],
        "batches": [1, 8],
    }
    card, about = {**CARD, "format": draw.choice(("tensorrt", "tensorrt-rtx")), "engine": engine}, "engine"
    if draw.random() < 0.7:
        card, about = odd_card(draw, card)
    text = odd_text(draw, card) if draw.random() < 0.2 else json.dumps(card).encode()
    return Input(
        draw.choice(("scorer", "load", "inspect")),
        {"model.engine": data, "model.json": text},
        about,
        {"trust": draw.random() < 0.5},
    )


def _proof(draw: random.Random) -> Input:
    arrays = {
        "faces": np.zeros((8, 112, 112, 3), np.uint8),
        "scores": np.linspace(0, 1, 8, dtype=np.float32),
        "source": np.array("0" * 64),
    }
    return Input("proof", {PROOF_FILE: odd_npz(draw, arrays)}, "proof")


def _checkpoint(draw: random.Random) -> Input:
    name, make = pick(draw, CHECKPOINTS)
    data = make(draw)
    if draw.random() < 0.3 and data:
        data, about = mutate(draw, data)
        name += f": {about}"
    suffix = (
        ".safetensors"
        if name.startswith("safe")
        else draw.choice((".pth", ".pt", ".ckpt", ".pth.tar", ".safetensors", ".bin"))
    )
    door = draw.choices(("state", "network"), (5, 1))[0]
    return Input(door, {f"weights{suffix}": data}, name, {"name": draw.choice(NETWORKS)})


# Doors


def _path(place: Path, given: Input) -> Path:
    return place / next(iter(given.files))


def _load(place: Path, given: Input) -> None:
    _check_card(load_model(_path(place, given), trust=given.options.get("trust", False)).card)


def _scorer(place: Path, given: Input) -> None:
    with QualityScorer(_path(place, given), threads=1, trust=given.options.get("trust", False)) as scorer:
        scores = scorer.score_batch(FACES)
        if scores.shape != (2,) or not np.isfinite(scores).all():
            raise AssertionError(f"scores are {scores}")
        scorer.score(FACES[0])
        _check_card(scorer.card)


def _find(place: Path, given: Input) -> None:
    for face in FaceDetector(_path(place, given)).detect(np.full((64, 64, 3), 200, np.uint8)):
        if not (np.isfinite(face.box).all() and np.isfinite(face.landmarks).all() and np.isfinite(face.confidence)):
            raise AssertionError("a face without numbers")


def _inspect(place: Path, given: Input) -> None:
    facts = inspect_file(_path(place, given))
    if "error" in facts:
        raise ModelError(facts["error"])


def _source(place: Path, given: Input) -> None:
    from export.sources.checkpoint import load_source

    load_source("fiqa-nano", _path(place, given))


def _from_json(place: Path, given: Input) -> None:
    _check_card(ModelCard.from_json(_path(place, given).read_bytes().decode("utf-8", "surrogateescape")))


def _check_card(card: ModelCard) -> None:
    """A card that was made is right, and is the same when it is read again."""
    text = card.to_json()
    json.loads(text, parse_constant=lambda name: (_ for _ in ()).throw(AssertionError(f"{name} in a card")))
    if ModelCard.from_json(text) != card:
        raise AssertionError(f"a card that does not come back: {text[:200]}")
    wanted = {"colour": ("BGR", "RGB"), "layout": ("NHWC", "NCHW"), "dtype": ("uint8", "float32")}
    if card.task not in ("quality", "detection") or any(
        getattr(card.input, name) not in values for name, values in wanted.items()
    ):
        raise AssertionError(f"a card with wrong fields: {text[:200]}")
    if not isinstance(card.name, str) or not all(
        isinstance(side, int) and side >= 0 for side in (card.input.height, card.input.width)
    ):
        raise AssertionError(f"a card with wrong fields: {text[:200]}")


def _load_proof(place: Path, given: Input) -> None:
    faces, scores, _ = load_proof(place, ModelCard.from_dict(CARD))
    if (
        faces.dtype != np.uint8
        or faces.shape[1:] != (112, 112, 3)
        or scores.shape != (len(faces),)
        or scores.dtype != np.float32
    ):
        raise AssertionError(f"a proof of {faces.dtype} {faces.shape} and {scores.dtype} {scores.shape}")


def _state(place: Path, given: Input) -> None:
    for name, tensor in read_state(_path(place, given)).items():
        if not isinstance(name, str) or not hasattr(tensor, "shape"):
            raise AssertionError(f"{name!r} is a {type(tensor).__name__}")


def _network(place: Path, given: Input) -> None:
    load_network(given.options["name"], _path(place, given))


DOORS = {
    "load": _load, "scorer": _scorer, "detector": _find, "inspect": _inspect, "source": _source, "card": _from_json,
    "proof": _load_proof,
    "state": _state, "network": _network,
}  # fmt: skip

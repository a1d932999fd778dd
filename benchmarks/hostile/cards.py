"""Cards with every field wrong in every way, and texts that are no cards."""

import json
import random
from typing import Any

FIELDS = (
    "name", "variant", "task", "summary", "licence", "attribution", "input", "output", "score_range", "format",
    "precision",
    "engine", "proven", "source", "source_sha256", "training_data", "training_commit", "paper", "verification", "notes",
    "unknown", "__class__", "self",
)  # fmt: skip
INPUT_FIELDS = ("height", "width", "colour", "layout", "dtype", "mean", "std", "unknown")
ENGINE_FIELDS = ("sha256", "version", "architectures", "batches", "target", "layers", "command")

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 112, 113, 2**63, 10**400, 0.5, 1e308, float("nan"), float("inf"), -float("inf"), "",
    " ", "x", "\0", "\ud800", "\x1b[31m",
    "x" * 100_000, "../../etc", "[bold]", [], {}, [[]], [1], [0.5] * 3, [0, 0, 0], [1, 0], [None, None],
    ["a", "b", "c"], [0.5] * 4, [1e-320] * 3,
    {"a": 1}, {"": None}, {"a": {"b": []}}, {"cpu": "x"}, {"cpu": float("nan")}, "112", "true", "nan",
)  # fmt: skip
NEAR = {
    "task": ("quality", "detection", "Quality", "embedding"),
    "format": ("onnx", "tensorrt", "tensorrt-rtx", "openvino", "ONNX", "engine", "pickle"),
    "precision": ("fp32", "fp16", "int8", "int8+fp16", "bf16", "int4", "FP32", "int8+bf16"),
    "output": ("quality", "cells", "other"),
    "variant": ("fiqa-detector", "yunet", "ediffiqa-t", "none"),
    "score_range": ([0, 1], [1, 0], [0, 0], [0], ["0", "1"], [float("nan"), 1]),
    "colour": ("BGR", "RGB", "rgb", "GRAY"), "layout": ("NHWC", "NCHW", "nhwc", "CHW"),
    "dtype": ("uint8", "float32", "float16", "int8"),
    "height": (112, 0, 64, 112.0, "112", 10**9), "width": (112, 0, 64, 112.0, "112", 10**9),
    "std": ([0, 0, 0], [1, 1], [-1, 1, 1], [1e-45] * 3),
    "batches": ([1], [0], [], ["1"], [2**40], [1, 1], 1), "architectures": (["8.6"], [86], "8.6", [None], []),
    "sha256": ("0" * 64, 0, None, [], "../x"),
    "command": ("fiqa-export", "rm -rf /", ["x"], 1), "layers": ({"fp16": 3}, {"fp16": "3"}, [], {"a": None}),
    "version": ("10.3.0", 10, None, ["10"]),
}  # fmt: skip
"""Values that are right, or nearly so."""


def odd_card(draw: random.Random, card: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A card with one to three fields of wrong values; and what was changed."""
    made, done = json.loads(json.dumps(card)), []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        section, names = draw.choice((("", FIELDS), ("", FIELDS), ("input", INPUT_FIELDS), ("engine", ENGINE_FIELDS)))
        name = draw.choice(names)
        place = made.setdefault(section, {}) if section else made
        if not isinstance(place, dict):
            continue
        value = draw.choice(NEAR[name] if name in NEAR and draw.random() < 0.6 else VALUES)
        if draw.random() < 0.05:
            place.pop(name, None)
        else:
            place[name] = value
        done.append(f"{section}.{name}={str(value)[:40]!r}")
    return made, ", ".join(done)


def odd_text(draw: random.Random, card: dict[str, Any]) -> bytes:
    """A text in the place of a card."""
    good = json.dumps(card).encode()
    return draw.choice((
        b"", b"null", b"[]", b"1", b'"card"', b"{", b"{}", b"\xff\xfe", b"\xef\xbb\xbf" + good, good + b" x",
        good.replace(b'"', b"'"), good[:-1],
        b'{"a":' * 100_000, b"[" * 100_000, b'{"name":' * 900 + b"1" + b"}" * 900, b'{"name": ' + b"9" * 5000 + b"}",
        b'{"name": "a", "score_range": [0, 1e999]}',
        b'{"name": NaN}', b'{"name": "a", "name": 1}', b'{"name": "\\ud800"}', b'{"name": "a\\u0000"}',
        good.decode().encode("utf-16"), good + b"\0",
        b'{"name": "a", "input": {"height": ' + b"1" * 400 + b"}}", b'{"name": "' + b"x" * (8 << 20) + b'"}',
        b'{"name": "a", "notes": "\xe9"}',
    ))  # fmt: skip

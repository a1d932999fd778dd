"""Evaluation of a recipe: each split of people, by each judge, on each protocol; what is finished is left."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from sdk.errors import InputError
from sdk.files import make_folder, read_file, write_json
from sdk.text import shortened
from train.data.manifest import read_manifest
from train.evaluation.curves import EvaluationSettings
from train.evaluation.inputs import EmbeddingSource
from train.evaluation.results.summary import Part, write_summary
from train.evaluation.run import Methods, Protocol, evaluate
from train.evaluation.selection import ALL_IMAGES, Selection
from train.evaluation.sets import SETS
from train.networks.recognition import is_file, recognition_names
from train.recipes import settings_from, text_of
from train.run_state import RunRecord, digest, read_record

logger = logging.getLogger(__name__)

TEACHER = "teacher"
"""A judge: the embeddings of the recipe's teacher."""

RECORD = "evaluation.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class EvaluationPlan(EvaluationSettings):
    """The section `evaluate` of a recipe.

    Attributes:
        sets: See `train.evaluation.sets.SETS`.
        splits: Values of the column `split`: the people of each are evaluated for themselves.
        protocols: The images to compare, by the name of the protocol. The name is empty where the recipe has none.
        judges: What compares the faces, by the name of the judge: `TEACHER`, the path of an ONNX file, or
            `module:function`. The name is empty where the recipe has none.
    """

    sets: tuple[str, ...] = ("clean", "mixed", "harsh")
    splits: tuple[str, ...] = ("test",)
    protocols: Mapping[str, Selection] = field(default_factory=lambda: {"": ALL_IMAGES})
    judges: Mapping[str, str] = field(default_factory=lambda: {"": TEACHER})

    def __post_init__(self) -> None:
        EvaluationSettings.__post_init__(self)
        for name, values in (("sets", self.sets), ("splits", self.splits)):
            if not values:
                raise InputError(f"evaluate.{name} is empty, wanted at least one name")
        for name in self.sets:
            if name not in SETS:
                raise InputError(f"evaluate.sets has {shortened(repr(name))}, wanted some of: {', '.join(SETS)}")
        for name in self.splits:
            _check_name(name, "splits")

    @classmethod
    def from_recipe(cls, section: Mapping[str, Any] | None, data: Path) -> "EvaluationPlan":
        """Read the section of a recipe.

        Args:
            section: The section; None for the defaults.
            data: Folder that the paths of judges are relative to.

        Raises:
            InputError: A setting is unknown or wrong, a name is not fit for a folder, or a judge is not there.
        """
        others = dict(section or {})
        protocols = _named(others.pop("protocols", None), "protocols")
        judges = _named(others.pop("judges", None), "judges")
        plan = settings_from(cls, others)
        if protocols is not None:
            plan = replace(plan, protocols={name: settings_from(Selection, part) for name, part in protocols.items()})
        if judges is not None:
            plan = replace(plan, judges={name: _judge(judges, name, data) for name in judges})
        return plan

    def parts(self, out: Path) -> Iterator[Part]:
        """Yield the evaluations. What has no name has no folder of its own, nor has a split that is the only one."""
        for split, judge, protocol in product(self.splits, self.judges, self.protocols):
            yield Part(split, judge, protocol, out / (split if len(self.splits) > 1 else "") / judge / protocol)


def evaluate_plan(plan: EvaluationPlan, scores: Path, teacher: Path, methods: Methods, out: Path) -> None:
    """Evaluate what is not finished yet, and write the summary.

    Args:
        plan: See `EvaluationPlan`.
        scores: Manifest with a column for each method.
        teacher: Embeddings of its rows by the recipe's teacher, `.npy`.
        methods: The first one is the reference.
        out: The run's folder. Results go to `evaluation`, the embeddings of other judges to `judges`.

    Raises:
        InputError: See `train.evaluation.run.evaluate`.
        OutputError: The disk is full.
    """
    embeddings = embed_judges(plan, scores, teacher, out)
    parts = list(plan.parts(out / "evaluation"))
    for part in parts:
        protocol = Protocol(scores, None, plan.sets, part.split, plan.protocols[part.protocol])
        recognition = EmbeddingSource(str(embeddings[part.judge]), name=part.judge or TEACHER)
        _evaluate(protocol, recognition, methods, plan, part.folder)
    write_summary(parts, out / "evaluation")


def embed_judges(plan: EvaluationPlan, scores: Path, teacher: Path, out: Path) -> dict[str, Path]:
    """Return the embeddings of all rows by each judge, `.npy`; what was embedded already is left.

    Args:
        plan: See `EvaluationPlan`.
        scores: Manifest.
        teacher: Embeddings of its rows by the recipe's teacher.
        out: The run's folder.
    """
    return {
        judge: teacher if source == TEACHER else _embed(source, scores, out / "judges" / judge)
        for judge, source in plan.judges.items()
    }


def _evaluate(
    protocol: Protocol, recognition: EmbeddingSource, methods: Methods, plan: EvaluationPlan, folder: Path
) -> None:
    """Evaluate, unless the folder has the results of the same evaluation."""
    inputs = {"scores": file_digest(protocol.source), "embeddings": file_digest(Path(recognition.source))}
    choices = {"split": protocol.split, "judge": recognition.name, "methods": methods.columns}
    settings = {name: value for name, value in asdict(plan).items() if name not in ("splits", "protocols", "judges")}
    record, kept = RunRecord({**settings, **choices, **asdict(protocol.selection)}, inputs), folder / RECORD
    if kept.exists():
        if not record.difference(read_record(kept)):
            logger.info("%s is there already", folder)
            return
        kept.unlink()
    evaluate(protocol, recognition, methods, plan, folder)
    write_json(kept, record.as_dict())


def _embed(source: str, scores: Path, folder: Path) -> Path:
    """Embed all images, or leave what was embedded; return the embeddings' path."""
    manifest = read_manifest(scores)
    make_folder(folder)
    EmbeddingSource(source).read(manifest, np.arange(len(manifest)), folder)
    return folder / "embeddings.npy"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file of a run."""
    return digest([read_file(path, InputError, "run the recipe again")])


def _named(section: Any, name: str) -> dict[str, Any] | None:
    if section is None:
        return None
    if not isinstance(section, dict) or not section:
        raise InputError(f"evaluate.{name} is {shortened(repr(section))}, wanted a mapping of names")
    for key in section:
        _check_name(key, name)
    return section


def _check_name(name: object, where: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"evaluate.{where} has the name {shortened(repr(name))}, wanted letters, digits, '.', '_' and '-', for it "
            "becomes a folder"
        )


def _judge(judges: dict[str, Any], name: str, data: Path) -> str:
    """Return a judge, the path of its file made complete."""
    source = text_of(judges, name, "evaluate.judges")
    if source == TEACHER or ":" in source:
        return source
    if source in recognition_names():
        return source
    if not is_file(source):
        raise InputError(
            f"evaluate.judges.{name} is {shortened(repr(source))}, wanted {TEACHER}, an .onnx file, a name in the "
            "catalogue or module:function"
        )
    if not os.path.lexists(data / source):
        raise InputError(
            f"evaluate.judges.{name}: no file at {data / source}; correct the path, or give another --data"
        )
    return str(data / source)

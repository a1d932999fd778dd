"""Sources: where the images of a training come from. Several sources may show the same people."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdk.errors import InputError
from sdk.text import shortened
from train.data.archive import unpack
from train.data.manifest import Manifest, make_manifest, name_of, read_manifest
from train.data.sources.landmarks import with_landmarks
from train.recipes import text_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Images, their landmarks, and who is on them.

    Attributes:
        source: Folder, manifest, or a .tar of a folder of images.
        landmarks: File of landmarks, see `train.data.sources.landmarks`; None where the manifest has them, or where the
            images are aligned crops.
        identity: Column of the landmarks' table that names the person; None where the manifest or the folders do.
            People of one name are one person, in whichever source.
    """

    source: Path
    landmarks: Path | None = None
    identity: str | None = None

    def __post_init__(self) -> None:
        if self.identity is not None and self.landmarks is None:
            raise InputError(
                f"identity is {self.identity!r}, but {self.source} has no file of landmarks; "
                "wanted a .csv or .parquet with that column"
            )

    @property
    def files(self) -> list[Path]:
        """The files that are read."""
        return [self.source] if self.landmarks is None else [self.source, self.landmarks]

    @property
    def names(self) -> dict[str, str | None]:
        """The names of the files and the column: what decides what is read."""
        landmarks = None if self.landmarks is None else self.landmarks.name
        return {"source": self.source.name, "landmarks": landmarks, "identity": self.identity}


def sources_of(
    paths: Sequence[Path], landmarks: Sequence[Path] | None = None, identities: Sequence[str] | None = None
) -> tuple[Source, ...]:
    """Make sources from what a command is given.

    Args:
        paths: Of the images.
        landmarks: Files of landmarks, in the same order; None for none.
        identities: Columns of people, in the same order, "" for none; None for none at all.

    Raises:
        InputError: There are more or fewer landmarks or columns than paths.
    """
    for option, values in (("--landmarks", landmarks), ("--identity", identities)):
        if values and len(values) != len(paths):
            raise InputError(f"{option} is given {len(values)} times for {len(paths)} sources, wanted once for each")
    return tuple(
        Source(path, landmarks[place] if landmarks else None, (identities[place] or None) if identities else None)
        for place, path in enumerate(paths)
    )


SOURCE_SETTINGS = ("sources", "source", "landmarks", "identity")
"""Settings of a recipe's section `prepare` that say where images come from."""


def sources_of_recipe(section: Mapping[str, Any], data: Path) -> tuple[Source, ...]:
    """Read the sources of a recipe's section `prepare`: a list `sources`, or one source in the section itself.

    Args:
        section: The section.
        data: Folder that paths are relative to.

    Raises:
        InputError: There is none, or one has an unknown setting or a value of another kind.
    """
    items = section.get("sources")
    if "sources" not in section:
        items = [{name: section[name] for name in SOURCE_SETTINGS if name in section}]
    elif any(name in section for name in SOURCE_SETTINGS[1:]):
        raise InputError("prepare has 'sources' and a source beside it; write it into the list, too")
    if not isinstance(items, list) or not items:
        raise InputError(f"prepare.sources is {shortened(repr(items))}, wanted a list such as [{{source: faces.tar}}]")
    where = "prepare" if "sources" not in section else "prepare.sources"
    return tuple(_source(item, data, where) for item in items)


def _source(item: Any, data: Path, where: str) -> Source:
    if not isinstance(item, Mapping):
        raise InputError(f"{where} has {shortened(repr(item))}, wanted a mapping with source and landmarks")
    if unknown := sorted(set(item) - set(SOURCE_SETTINGS[1:])):
        raise InputError(f"{where} has no setting {shortened(unknown[0])!r}, wanted: {', '.join(SOURCE_SETTINGS[1:])}")
    landmarks = text_of(item, "landmarks", where) if "landmarks" in item else None
    return Source(
        data / text_of(item, "source", where),
        None if landmarks is None else data / landmarks,
        text_of(item, "identity", where) if "identity" in item else None,
    )


def unpacked(sources: Sequence[Source], folder: Path) -> tuple[Source, ...]:
    """Unpack sources that are archives, once: a single one into `images`, each of several into `images-NAME`.

    Args:
        sources: Sources.
        folder: Where the archives' images are put.

    Raises:
        InputError: An archive cannot be read, see `train.data.archive.unpack`, or two have one name.
        OutputError: The disk is full.
    """
    archives = [source.source.stem for source in sources if source.source.suffix.lower() == ".tar"]
    if twice := _twice(archives):
        raise InputError(f"two sources are archives of the name {twice!r}; rename one")
    places = ["images"] if len(sources) == 1 else [f"images-{source.source.stem}" for source in sources]
    return tuple(
        replace(source, source=unpack(source.source, folder / place))
        for source, place in zip(sources, places, strict=True)
    )


def read_source(source: Source) -> Manifest:
    """Read the images of a source that is no archive, with their landmarks and people.

    Raises:
        InputError: A file cannot be read, or no image has landmarks.
    """
    manifest = read_manifest(source.source)
    return manifest if source.landmarks is None else with_landmarks(manifest, source.landmarks, source.identity)


def read_sources(sources: Sequence[Source], folder: Path) -> Manifest:
    """Read and join the images of sources; archives are unpacked into a folder. See `unpacked` and `joined`.

    Raises:
        InputError: A source cannot be read.
        OutputError: The disk is full.
    """
    return joined([read_source(source) for source in unpacked(sources, folder)])


def joined(manifests: Sequence[Manifest]) -> Manifest:
    """Join the images of sources, with a column `source`: an image's name, which seeds what is random about it.

    The name is the image's path in its source. Where there are several sources, the name of the source's folder stands
    before it: `lfw/ann/1.png`.

    Raises:
        InputError: Two sources are folders of one name.
    """
    if len(manifests) == 1:
        table = manifests[0].table
        table = table.select([name for name in table.column_names if name != "source"])
        return Manifest(table.append_column("source", table["path"]), manifests[0].root)
    folders = [name_of(manifest.root) for manifest in manifests]
    if twice := _twice(folders):
        raise InputError(f"two sources are folders of the name {twice!r}, wanted one name a source; rename one")
    people = Counter(name for manifest in manifests for name in set(manifest.identities))
    logger.info("%d people are in several sources", sum(count > 1 for count in people.values()))
    return make_manifest(
        (
            {
                "path": str(manifest.root / row["path"]),
                "identity": row["identity"],
                "landmarks": _text(row.get("landmarks")),
                "source": f"{folder}/{row['path']}",
            }
            for manifest, folder in zip(manifests, folders, strict=True)
            for row in manifest.table.to_pylist()
        ),
        Path(),
    )


def _text(landmarks: Any) -> str:
    """Return landmarks as text, for a column is of one type and sources may have both."""
    return " ".join(map(str, landmarks)) if isinstance(landmarks, list) else str(landmarks or "")


def _twice(names: Iterable[str]) -> str:
    return next((name for name, count in Counter(names).items() if count > 1), "")

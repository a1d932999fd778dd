"""An engine may be loaded when it is the file that its card describes, was built here, and fits library and GPU.

All of it is found out before the library sees a byte: to deserialise an engine is to run code.
"""

import hashlib
import logging
from pathlib import Path

from sdk.errors import ModelError
from sdk.files.cache import find_in_cache, keep_in_cache
from sdk.models.card import ModelCard

logger = logging.getLogger(__name__)

_BUILT = ("engines", "built")


def check_engine(path: Path, data: bytes, card: ModelCard, trust: bool) -> None:
    """Compare an engine with its card, and see whether it may run here.

    Args:
        path: The `.engine`.
        data: What is in it.
        card: The card beside it.
        trust: Take it also where it was not built on this machine.

    Raises:
        ModelError: It is not the file that its card describes, or is not trusted.
    """
    digest, wanted = hashlib.sha256(data).hexdigest(), card.engine.sha256 or None
    if digest != wanted:
        raise ModelError(
            f"{path} has SHA-256 {digest}, its card says {wanted}: it is damaged, altered, or of another build; "
            f"{rebuild(card)}"
        )
    if not trust and not was_built_here(digest):
        raise ModelError(
            f"{path} was not built on this machine, and an engine is code that would run here; if it is your own, "
            f"give trust=True (--trust); else {rebuild(card)}"
        )


def check_fit(path: Path, card: ModelCard, version: str, architecture: str) -> None:
    """Compare an engine's card with the library and the GPU that it would run on.

    Args:
        path: The engine.
        card: Its card.
        version: Version of the installed library.
        architecture: The GPU's compute capability, such as `8.6`.

    Raises:
        ModelError: The engine was built for others.
    """
    built, architectures = card.engine.version, card.engine.architectures
    if built != version:
        raise ModelError(
            f"{path} was built by {card.format} {built}, installed is {version}, and engines run in the version that "
            f"built them only; {rebuild(card)}"
        )
    if architecture not in architectures:
        raise ModelError(
            f"{path} was built for GPUs of compute capability {', '.join(architectures)}, this one has "
            f"{architecture}; {rebuild(card)}"
        )


def rebuild(card: ModelCard) -> str:
    """What to do about an engine that may not be loaded."""
    command = card.engine.command
    return f"build it again on the machine it is for: {command}" if command else "build it again with fiqa-export"


def remember_engine(digest: str) -> None:
    """Keep in mind that an engine was built here, by its SHA-256: an empty file of that name in the cache.

    A list here cannot be forged by whoever sends an engine, as anything in its card could. Without the cache the engine
    has to be trusted explicitly.
    """
    if keep_in_cache(b"", *_BUILT, digest) is None:
        logger.warning("it is not kept in mind that this engine was built here; to load it, give trust=True (--trust)")


def was_built_here(digest: str) -> bool:
    """Whether `remember_engine` was told of an engine."""
    return find_in_cache(*_BUILT, digest) is not None

"""Trust in engines: an engine is code, so it is checked before the library sees a byte of it.

It is loaded if it is the file that its card describes, was built on this machine, and fits the library and the GPU.
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
    """Check that an engine is the file that its card describes, and that it is trusted.

    Args:
        path: The `.engine` file.
        data: Its content.
        card: The card beside it.
        trust: Accept an engine that was not built on this machine.

    Raises:
        ModelError: The engine is another file, or is not trusted.
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
    """Check that an engine was built for this library and this GPU.

    Args:
        path: The `.engine` file.
        card: Its card.
        version: Version of the installed library.
        architecture: Compute capability of the GPU, for example `8.6`.

    Raises:
        ModelError: The engine was built for another version or another GPU.
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
    """Return the advice for an engine that is refused."""
    command = card.engine.command
    return f"build it again on the machine it is for: {command}" if command else "build it again with fiqa-export"


def remember_engine(digest: str) -> None:
    """Remember that an engine was built here: an empty file in the cache, named by the engine's SHA-256.

    Whoever sends an engine could forge its card, but not this file. Without a cache the user must trust the engine
    explicitly.
    """
    if keep_in_cache(b"", *_BUILT, digest) is None:
        logger.warning("the cache cannot be written, so to load this engine give trust=True (--trust)")


def was_built_here(digest: str) -> bool:
    """Tell whether `remember_engine` was called for an engine."""
    return find_in_cache(*_BUILT, digest) is not None

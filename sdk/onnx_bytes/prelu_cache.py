"""Models without PReLU nodes, kept in the cache: rewriting takes longer than reading the result."""

import hashlib
from contextlib import suppress
from pathlib import Path

from sdk.files.cache import cache_dir, find_in_cache, keep_in_cache
from sdk.onnx_bytes.prelu import VERSION, replace_prelu


def without_prelu(data: bytes) -> bytes | Path:
    """Return a model without PReLU nodes, rewritten or from the cache.

    The cached file's name holds the hashes of the original and of the result, so a damaged file is never taken.

    Args:
        data: An ONNX file that `sdk.onnx_bytes.onnx_file.check_onnx` has passed.

    Returns:
        The path in the cache, which onnxruntime loads without a second copy in memory. The content, if there is nothing
        to rewrite or no cache.
    """
    if b"PRelu" not in data:
        return data
    prefix = f"{hashlib.sha256(data).hexdigest()[:32]}-{VERSION}-"
    with suppress(OSError):  # a cache that cannot be read counts as empty
        for path in (cache_dir() / "rewritten").glob(f"{prefix}*.onnx"):
            known = find_in_cache("rewritten", path.name)
            if known is not None and _digest(known) == path.stem.removeprefix(prefix):
                return path
    rewritten = replace_prelu(data)
    if rewritten is data:
        return data
    return keep_in_cache(rewritten, "rewritten", f"{prefix}{_digest(rewritten)}.onnx") or rewritten


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]

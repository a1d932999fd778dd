"""Embeddings as vectors: unit length and cosine similarity."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
"""Indices of images; pairs of them are (M, 2)."""


def unit(embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rows of unit length, float32."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.maximum(lengths, 1e-12)).astype(np.float32)


def are_vectors(embeddings: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Tell which rows (N, D) have a direction: finite, and not all zero. Return bool (N,)."""
    return np.asarray(np.isfinite(embeddings).all(axis=1) & (embeddings != 0).any(axis=1))


def cosines(pairs: Indices, embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Cosine similarities of pairs (M, 2), in blocks that stay in the processor's cache."""
    rows = unit(embeddings)
    result = np.empty(len(pairs), np.float32)
    size = max(64, (1 << 19) // rows.shape[1])
    for start in range(0, len(pairs), size):
        block = pairs[start : start + size]
        np.einsum("nd,nd->n", rows[block[:, 0]], rows[block[:, 1]], out=result[start : start + size])
    return result

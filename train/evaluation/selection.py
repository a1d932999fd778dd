"""Choice of comparisons by the names of images, such as frontal faces against profiles."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.text import shortened
from train.data.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Selection:
    """Images to compare, by patterns of their names, in which `*` and `?` also stand for `/`.

    The name of an image is its `source`, or its `path` where the manifest has no such column. So a damaged copy has the
    name of its original.

    Attributes:
        images: Take only the images whose name matches this pattern.
        against: Compare each of them only with the images whose name matches this pattern. Empty compares them with
            each other.
    """

    images: str = "*"
    against: str = ""

    def __str__(self) -> str:
        if not self.against:
            return f"images {self.images}" if self.images != "*" else ""
        return f"images {self.images} against {self.against}"

    def sides(self, manifest: Manifest) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which images (N,) match `images`, and which (N,) they are compared with.

        Raises:
            InputError: A pattern matches no image.
        """
        column = "source" if "source" in manifest.table.column_names else "path"
        names = manifest.column(column)
        first = _matches(self.images, names, column)
        return first, _matches(self.against, names, column) if self.against else first


ALL_IMAGES = Selection()


def _matches(pattern: str, names: list[str], column: str) -> NDArray[np.bool_]:
    found = np.array([fnmatchcase(name, pattern) for name in names], bool)
    if not found.any():
        raise InputError(
            f"no image matches {shortened(pattern)!r}, wanted a pattern of the column {column!r}, which has names such "
            f"as {shortened(names[0])!r}"
        )
    return found

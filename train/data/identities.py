"""Identities: the names of people, as a manifest gives them or as folders do."""

import hashlib
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath

from sdk.errors import InputError
from sdk.text import shortened
from train.data.tables import is_formula

JOINT = "~"
"""Between the names of nested folders in an identity: `vgg/0001` is `vgg~0001`."""

LONGEST = 200
"""Bytes of an identity in UTF-8, for a folder is named by it."""


def check_identity(name: str) -> str:
    """Say why a name cannot be an identity, which also names a folder; return "" where it can.

    Names that only Windows refuses to a folder, such as `CON` and `a:b`, are names of people elsewhere, so they are
    allowed here; on Windows the folder cannot be made, which is an error then.
    """
    if not name.strip():
        return "is blank, wanted the person's name"
    if name in (".", ".."):
        return f"is {name!r}, which is no name"
    if "/" in name or "\\" in name:
        return f"is {shortened(name)!r}, wanted a name without / and \\"
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        return f"is {shortened(name)!r}, wanted a name without control characters"
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST:
        return f"is {shortened(name, 40)!r}, {len(name.encode())} bytes long, wanted at most {LONGEST}"
    if is_formula(name):
        return f"is {shortened(name)!r}, which a spreadsheet takes for a formula; it must not begin with {name[0]!r}"
    return ""


def identities_from_folders(paths: Sequence[str]) -> list[str]:
    """Name the person of each image by its folder: `ann/1.png` is `ann`, `vgg/0001/1.png` is `vgg~0001`.

    An image that is in no folder is a person of its own, named by the file, or by a digest where that cannot be a
    name.

    Raises:
        InputError: Two folders, or a folder and a file, give one name, or one gives none that can be used.
    """
    names: dict[tuple[str, ...], str] = {}
    owners: dict[str, tuple[str, ...]] = {}
    found = []
    for path in paths:
        whole = PurePath(path)
        parts = whole.parts[:-1] or whole.parts
        if parts not in names:
            name = JOINT.join(part.replace("\\", JOINT) for part in parts if part != whole.anchor and part != "..")
            if parts == whole.parts and check_identity(name):
                name = f"image{JOINT}{hashlib.sha256(path.encode()).hexdigest()[:16]}"
            names[parts] = name
            if why := check_identity(name):
                raise InputError(f"the identity of {shortened(path)!r} {why}; rename its folder, or write a manifest")
            if owners.setdefault(name, parts) != parts:
                raise InputError(
                    f"{'/'.join(owners[name])} and {'/'.join(parts)} would be one person, {name!r}; rename one folder"
                )
        found.append(names[parts])
    return found

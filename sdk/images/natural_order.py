"""Natural order of names: `photo 2` before `photo 10`."""

import re

_NUMBER = re.compile("([0-9]+)")


def natural_key(text: str) -> str:
    """Return a key that sorts names in natural order."""
    return _NUMBER.sub(_number_key, text)


def _number_key(found: re.Match[str]) -> str:
    """Return the number of digits, then the digits. Of equal numbers the one with fewer leading zeros is first."""
    digits = found[0].lstrip("0")
    return f"{len(digits):04}{digits}.{len(found[0]):04}"

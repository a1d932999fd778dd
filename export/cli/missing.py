"""Error for a package that is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from sdk.errors import ModelError


@contextmanager
def tell_missing() -> Iterator[None]:
    """Turn a missing package into an error that says how to install it.

    Raises:
        ModelError: A package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("sdk", "export", "train"):
            raise
        raise ModelError(f"{error.name} is not installed; pip install 'fiqa[export]'") from error

"""Error for a package that is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from sdk.errors import ModelError
from sdk.text import install_advice


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
        raise ModelError(install_advice(error.name, "export")) from error

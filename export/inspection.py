"""`fiqa-export inspect`: say what a model file is, and what each runtime will do with it."""

from pathlib import Path

from export.formats.table import Facts, export_format
from export.graph.rewrite import readable
from sdk.errors import FiqaError, ModelError
from sdk.models.formats import FORMATS, SUFFIXES


def inspect_file(path: Path) -> Facts:
    """Look into a model file. Nothing in it is run.

    Args:
        path: File of any format, by its suffix: `.onnx`, `.xml`, `.engine`.

    Returns:
        Facts in a fixed order; `error` if the file cannot be read or may not be loaded.
    """
    suffix = path.suffix.lower()
    name = next((name for name, format_ in FORMATS.items() if format_.suffix == suffix), None)
    try:
        if name is None:
            raise ModelError(
                f"{path.suffix or 'no suffix'} is no suffix of a model file, wanted one of: {', '.join(SUFFIXES)}"
            )
        with readable(path):
            return export_format(name).inspect(path)
    except FiqaError as error:
        return {"error": str(error)}

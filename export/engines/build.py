"""Build an engine from an exported ONNX file, on the machine that has the library. It needs no torch."""

from dataclasses import dataclass
from pathlib import Path

from export.engines.place import build_command
from export.engines.tensorrt import BuiltEngine, build_engine
from export.settings import EngineOptions
from export.targets import Target
from sdk.errors import InputError
from sdk.files import check_outputs, check_place, make_folder, write_file
from sdk.files.folder_draft import folder_draft
from sdk.models.formats import ENGINES, FORMATS
from sdk.models.loading import load_model, write_card_beside


@dataclass(frozen=True, slots=True)
class WrittenEngine:
    """An engine on disk.

    Attributes:
        path: The engine; its card is the `.json` beside it.
        built: The engine and its card.
    """

    path: Path
    built: BuiltEngine


def build_engine_file(
    file: Path, format_name: str, target: Target | None = None, options: EngineOptions | None = None,
    out: Path | None = None,
) -> WrittenEngine:  # fmt: skip
    """Build an engine of an ONNX file and write it with its card, or nothing at all.

    Args:
        file: ONNX file that fiqa-export wrote, in the precision of the engine.
        format_name: `tensorrt` or `tensorrt-rtx`.
        target: Device that it is for; None for the GPU of this machine.
        options: How it is built; None for the defaults.
        out: Folder to write; None for the folder of the file.

    Raises:
        FiqaError: The file cannot be read, the engine cannot be built, or nothing can be written.
    """
    if format_name not in ENGINES:
        raise InputError(f"--format is {format_name!r}, wanted one of: {', '.join(ENGINES)}")
    options = options or EngineOptions()
    model, folder = load_model(file), out or file.parent
    make_folder(folder)
    check_outputs({"--timing-cache": options.timing_cache}, [file])
    if options.timing_cache is not None:
        check_place(options.timing_cache)
    command = build_command(file.name, format_name, target, options.batches)
    built = build_engine(model.data, model.card, format_name, target, options, command)
    architectures = "-".join(f"sm{name.replace('.', '')}" for name in built.card.engine.architectures)
    name = f"{file.stem}-{FORMATS[format_name].engine}-{architectures}{FORMATS[format_name].suffix}"
    check_outputs({"--out": folder / name, "--timing-cache": options.timing_cache}, [file])
    with folder_draft(folder) as draft:
        write_file(draft / name, built.data)
        write_card_beside(draft / name, built.card)
    return WrittenEngine(folder / name, built)

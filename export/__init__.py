"""Export networks to files that run anywhere, proven against the network that they were made from.

from export import ExportSettings, export_model

exported = export_model("fiqa-nano", settings=ExportSettings(precision="int8"))
print(exported.path, exported.differences)
"""

from typing import TYPE_CHECKING

from sdk.public_names import import_when_used

if TYPE_CHECKING:
    from export.engines.build import build_engine_file
    from export.exported import Exported
    from export.file_card import add_card
    from export.graph.from_torch import trace_network
    from export.graph.front_end import add_front_end
    from export.inspection import inspect_file
    from export.pipeline import export_model
    from export.settings import EngineOptions, ExportSettings

_MODULES = {
    "export.file_card": ("add_card",),
    "export.engines.build": ("build_engine_file",),
    "export.exported": ("Exported",),
    "export.graph.from_torch": ("trace_network",),
    "export.graph.front_end": ("add_front_end",),
    "export.inspection": ("inspect_file",),
    "export.pipeline": ("export_model",),
    "export.settings": ("EngineOptions", "ExportSettings"),
}

__all__ = [
    "EngineOptions",
    "ExportSettings",
    "Exported",
    "add_card",
    "add_front_end",
    "build_engine_file",
    "export_model",
    "inspect_file",
    "trace_network",
]

__getattr__ = import_when_used("export", _MODULES)  # torch alone takes seconds


def __dir__() -> list[str]:
    return __all__

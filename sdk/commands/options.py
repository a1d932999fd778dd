"""Options that several commands of `fiqa` take."""

from typing import Annotated

import typer

ModelOption = Annotated[str, typer.Option(help="Name (fiqa models list) or path of an .onnx, .xml or .engine file.")]
DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1, tensorrt, tensorrt-rtx, openvino, openvino-ep.")
]
ThreadsOption = Annotated[int | None, typer.Option(help="CPU cores to use; all where left out.")]
TrustOption = Annotated[bool, typer.Option("--trust", help="Load an engine that was built on another machine.")]
PrecisionOption = Annotated[str | None, typer.Option(help="bf16, where device and CPU can; else the file's own.")]

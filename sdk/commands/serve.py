"""fiqa serve: score pictures by HTTP."""

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdk.commands.console import error_exits, missing_packages, say
from sdk.commands.options import DetectorOption, DeviceOption, ModelOption, ThreadsOption
from sdk.errors import InputError

if TYPE_CHECKING:
    from sdk.scorer import QualityScorer

Host = Annotated[str, typer.Option(help="Address to listen on. Beyond this machine it needs a key.")]
Port = Annotated[int, typer.Option(help="Port; 0 for any that is free.")]
KeyFile = Annotated[
    Path | None, typer.Option(help="File with the keys, one a line.", show_default="the variable FIQA_KEY")
]
CalibrationOption = Annotated[Path | None, typer.Option(help="What scores mean, as fiqa calibrate wrote it.")]
Accept = Annotated[
    str | None, typer.Option(help="Accept faces from this score on, or from an operating point: enrol or identify.")
]
Queue = Annotated[int, typer.Option(min=1, help="Most pictures that wait or are being scored; then the answer is 503.")]
Seconds = Annotated[float, typer.Option(min=0.1, help="Time for a body to arrive, and again for its answer, seconds.")]
MaxPixels = Annotated[int | None, typer.Option(min=1, help="Largest picture, in pixels.", show_default="64 million")]
MaxBytes = Annotated[int, typer.Option(min=1, help="Largest body, in bytes.")]


def serve(
    model: ModelOption = "fiqa-nano",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    detector: DetectorOption = None,
    calibration: CalibrationOption = None,
    accept: Accept = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    key_file: KeyFile = None,
    queue: Queue = 256,
    seconds: Seconds = 30.0,
    max_pixels: MaxPixels = None,
    max_bytes: MaxBytes = 64 << 20,
) -> None:
    """Score pictures that come by HTTP; docs/serve.md.

    POST /v1/score takes a picture, or several as multipart/form-data, and answers with JSON. No picture is written or
    logged. SIGTERM and Ctrl-C end the service when it has answered what it accepted.

    Exit codes: 0 stopped; 1 an error, such as an unknown model; 2 a wrong path or option.
    """
    with error_exits(), missing_packages("serve"):
        from sdk.detection.face_detector import FaceDetector
        from sdk.scorer import QualityScorer
        from sdk.serving.app import Service
        from sdk.serving.server import serve as run
        from sdk.serving.settings import ServeSettings, read_accept, read_keys
        from sdk.serving.work import Work

        keys = read_keys(key_file)
        if not keys and not _is_local(host):
            raise InputError(
                f"--host {host} can be reached from other machines and there is no key; give --key-file, "
                "or set FIQA_KEY: openssl rand -hex 32 makes one"
            )
        settings = ServeSettings(keys, queue, seconds, max_bytes, 8 * max_bytes)
        finder = FaceDetector() if detector is None else FaceDetector(detector)
        with QualityScorer(
            model, device, threads, detector=finder, calibration=calibration, accept=read_accept(accept),
            max_pixels=max_pixels, max_bytes=max_bytes,
        ) as scorer:  # fmt: skip
            scorer.warmup()
            work = Work(scorer, finder, queue)
            try:
                run(Service(work, settings), host, port, 2 * seconds, lambda address: _tell(address, scorer))
            finally:
                work.close()


def _tell(address: str, scorer: "QualityScorer") -> None:
    say(f"{scorer.card.name} on {scorer.device}, {scorer.threads} threads: {address}")


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""The command `fiqa`: its commands, and the options before them."""

import logging
import os
from contextlib import suppress
from typing import Annotated

import typer

from sdk.commands.bench import bench
from sdk.commands.calibrate import calibrate
from sdk.commands.console import Commands, PlainFormatter
from sdk.commands.doctor import doctor
from sdk.commands.models import models
from sdk.commands.options import Version
from sdk.commands.score import score
from sdk.commands.serve import serve
from sdk.commands.verify import verify
from sdk.commands.video import video

app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_show_locals=False, rich_markup_mode="markdown")
for command in (score, calibrate, serve, video, verify, bench, doctor):
    app.command()(command)
app.add_typer(models, name="models")


Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done, to stderr.")]


@app.callback()
def main(verbose: Verbose = False, version: Version = False) -> None:
    """Face image quality: how useful is an image of a face for recognising the person?"""
    _quieten_opencv()
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


def _quieten_opencv() -> None:
    """Keep OpenCV's notes for its developers from stderr, unless its variable is set. Its errors become fiqa's."""
    if "OPENCV_LOG_LEVEL" in os.environ:
        return
    with suppress(ImportError):  # `fiqa doctor` says what is wrong with it
        import cv2

        # Its name up to OpenCV 4.12, then the one from 4.13 on; 0 is silent.
        set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
        set_level(0)

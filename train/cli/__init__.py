"""Prepare faces, label them, train quality networks, and evaluate.

Exit codes: 0 done; 1 an error; 2 wrong usage or input; 3 some images failed;
130, 143 and 129 stopped by Ctrl-C, SIGTERM and SIGHUP.
A command that was stopped goes on when it is started again.
"""

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from sdk.alignment import check_border
from sdk.commands.console import Commands, PlainFormatter, error_exits, missing_packages, print_plain
from sdk.commands.options import Version
from sdk.stopping import stoppable
from train.cli import adapt, embed, evaluate, fit, label
from train.labelling.parameters import Seed


class _Commands(Commands):
    """The commands, which end in an orderly way when they are stopped, and name the extra that is not installed."""

    def invoke(self, ctx: Any) -> Any:
        with stoppable(), error_exits(), missing_packages("train"):
            return super().invoke(ctx)


app = typer.Typer(cls=_Commands, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
app.add_typer(label.app, name="label")
app.add_typer(fit.app, name="fit")
app.command("adapt")(adapt.adapt_command)
app.command("embed")(embed.embed_command)
app.command("evaluate")(evaluate.evaluate_command)
app.command("evaluate-video")(evaluate.evaluate_video_command)

Out = Annotated[Path, typer.Option(help="Folder to write.")]


@app.callback()
def main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    version: Version = False,
) -> None:
    """Set up logging."""
    handler = RichHandler(console=Console(stderr=True), show_path=False)
    handler.setFormatter(PlainFormatter("%(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    for name in ("matplotlib", "onnx_ir", "onnxscript", "PIL", "torch", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


@app.command("prepare")
def prepare_command(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...", help="Folder of images, manifest (.csv, .parquet), list (.txt), or .tar of a folder."
        ),
    ],
    out: Out,
    landmarks: Annotated[
        list[Path] | None,
        typer.Option(help="Landmarks of the images: .npz, .pkl, .csv, .parquet. Once for each source, in their order."),
    ] = None,
    identity: Annotated[
        list[str] | None,
        typer.Option(help="Column of the landmarks' table that names the person. Once for each source; '' for none."),
    ] = None,
    border: Annotated[
        str, typer.Option(help="What crops show outside their image: black, or replicate, its edge.")
    ] = "black",
    detector: Annotated[
        str, typer.Option(help="Detector for photos without landmarks: name in the catalogue, or model file.")
    ] = "fiqa-detector",
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Take images without landmarks as aligned crops of any size.")
    ] = False,
    copies: Annotated[int, typer.Option(min=0, help="Damaged copies of each training image.")] = 3,
    misaligned: Annotated[int, typer.Option(min=0, help="Copies of each test image, aligned on wrong landmarks.")] = 0,
    test: Annotated[float, typer.Option(help="Share of people with several images to keep for the test.")] = 0.4,
    validation: Annotated[float, typer.Option(help="Share of people to keep for validation.")] = 0.05,
    seed: Seed = 0,
) -> None:
    """Find and align faces, make graded damaged copies, and split the people into training, validation and test.

    Of several faces in a photo the one near its middle is taken. An image of 112 x 112 pixels without landmarks is an
    aligned crop.
    """
    from train.data.prepare import PrepareSettings, prepare
    from train.data.sources.source import sources_of

    with error_exits():
        settings = PrepareSettings(
            copies=copies, misaligned=misaligned, test=test, validation=validation, seed=seed,
            border=check_border(border), detector=detector, aligned=aligned,
        )  # fmt: skip
        print_plain(Console(), str(prepare(sources_of(sources, landmarks, identity), out, settings)))


@app.command("recipe")
def recipe_command(
    name: Annotated[str, typer.Argument(help="Recipe with all stages, such as fiqa-nano, or a file.")],
    data: Annotated[Path, typer.Option(help="Folder that the recipe's paths are relative to.")],
    out: Out,
) -> None:
    """Run all stages of a recipe: prepare, label, fit, evaluate. Finished stages are skipped.

    fiqa-export takes the weights.
    """
    from train.pipeline.run import run_recipe
    from train.recipes import read_recipe

    with error_exits():
        print_plain(Console(), str(run_recipe(read_recipe(name), data, out)))

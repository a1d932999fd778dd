"""fiqa-train: prepare | label | embed | fit | evaluate | evaluate-video | recipe.

Exit codes: 0 done; 1 an error; 2 wrong usage or input; 3 done, but some images could not be labelled;
130 stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP: the same command goes on.
"""

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from sdk.commands.console import Commands, PlainFormatter, error_exits, print_plain
from sdk.errors import FiqaError
from sdk.stopping import MESSAGE, Stopped, stoppable
from train.cli import embed, evaluate, fit, label


class _Commands(Commands):
    """Tells what to install where that is missing."""

    def invoke(self, ctx: Any) -> Any:
        with stoppable(), error_exits():
            try:
                return super().invoke(ctx)
            except Stopped as stopped:
                print_plain(Console(stderr=True), MESSAGE, "yellow")
                raise typer.Exit(stopped.code) from stopped
            except ModuleNotFoundError as error:
                if error.name is None or error.name.partition(".")[0] in ("sdk", "export", "train"):
                    raise
                raise FiqaError(f"{error.name} is not installed; pip install 'fiqa[train]'") from error


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False
)
app.add_typer(label.app, name="label")
app.add_typer(fit.app, name="fit")
app.command("embed")(embed.embed_command)
app.command("evaluate")(evaluate.evaluate_command)
app.command("evaluate-video")(evaluate.evaluate_video_command)

Out = Annotated[Path, typer.Option(help="Where to write.")]


@app.callback()
def main(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False) -> None:
    """Set logging up."""
    handler = RichHandler(console=Console(stderr=True), show_path=False)
    handler.setFormatter(PlainFormatter("%(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    for name in ("matplotlib", "PIL", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


@app.command("prepare")
def prepare_command(
    source: Annotated[Path, typer.Argument(help="Folder, manifest, or a .tar of a folder of images.")],
    out: Out,
    landmarks: Annotated[Path | None, typer.Option(help=".npz with names and landmarks (N, 5, 2).")] = None,
    copies: Annotated[int, typer.Option(min=0, help="Damaged copies of each training image.")] = 3,
    misaligned: Annotated[int, typer.Option(min=0, help="Copies of each test image on wrong landmarks.")] = 0,
    test: Annotated[float, typer.Option(help="Share of the people with several images kept for the test.")] = 0.4,
    validation: Annotated[float, typer.Option(help="Share of the people kept for validation.")] = 0.05,
    seed: int = 0,
) -> None:
    """Align faces, make graded damaged copies, and split them by person."""
    from train.data.prepare import PrepareSettings, prepare

    with error_exits():
        settings = PrepareSettings(copies=copies, misaligned=misaligned, test=test, validation=validation, seed=seed)
        print_plain(Console(), str(prepare(source, out, settings, landmarks)))


@app.command("recipe")
def recipe_command(
    name: Annotated[str, typer.Argument(help="Recipe with a section for every stage, such as fiqa-nano.")],
    data: Annotated[Path, typer.Option(help="Folder that the recipe's paths are relative to.")],
    out: Out,
) -> None:
    """A whole recipe: prepare, label, fit, evaluate; fiqa-export takes its weights. Finished stages are not redone."""
    from train.pipeline import run_recipe
    from train.recipes import read_recipe

    with error_exits():
        print_plain(Console(), str(run_recipe(read_recipe(name), data, out)))

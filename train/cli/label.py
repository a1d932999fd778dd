"""fiqa-train label: add a column of quality labels to a manifest."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from sdk.commands.console import error_exits, print_plain
from sdk.files import check_outputs
from train.cli.method_command import MethodCommand, command_of
from train.labelling.parameters import Out, Seed
from train.methods import LABELLERS


class _LabelCommands(TyperGroup):
    """The commands of the methods, and of any method that is named as `module:name`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read `--method module:name` as the command of that name, so that the words after it are its options."""
        if args and args[0] == "--method":
            args = args[1:]
        elif args and args[0].startswith("--method="):
            args = [args[0].removeprefix("--method="), *args[1:]]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a method."""
        if ":" not in cmd_name:
            return super().get_command(ctx, cmd_name)
        with error_exits():
            return command_of(cmd_name)


app = typer.Typer(
    cls=_LabelCommands, no_args_is_help=True, help="Label images by a method: add a column to their manifest."
)

OwnMethod = Annotated[
    str | None,
    typer.Option("--method", metavar="MODULE:NAME", help="A labeller of your own, instead of a command."),
]


@app.callback()
def choose_method(method: OwnMethod = None) -> None:
    """Describe `--method`, which `_LabelCommands` reads."""


def _add_method(name: str, about: str) -> None:
    """Add the command of a method, whose options are known when it is called."""

    def label() -> None:
        raise NotImplementedError

    app.command(name, cls=MethodCommand, help=about)(label)


for _name, (_, _about) in LABELLERS.items():
    _add_method(_name, _about)


@app.command("optimise")
def label_optimise(
    labels: Annotated[Path, typer.Argument(help="Labelled manifest.")],
    label: Annotated[str, typer.Option(help="Column to optimise, or several by commas: the mean of their ranks.")],
    embeddings: Annotated[Path, typer.Option(help="Embeddings of the images (.npy, .npz, .pkl).")],
    out: Out,
    name: Annotated[str | None, typer.Option(help="New column; by default <label>-optimised.")] = None,
    epsilon: Annotated[float, typer.Option(help="Step towards the ranks of the mated similarities, 0 to 1.")] = 0.001,
    iterations: Annotated[int, typer.Option(help="Draws of pairs to average over.")] = 10,
    clusters: Annotated[int, typer.Option(help="Clusters of each person's images.")] = 20,
    clustering: Annotated[
        Path | None,
        typer.Option(
            help="Clusters instead of k-means: {identity: {cluster: [paths]}} (.pkl), or a table path,cluster."
        ),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Label optimisation (IWBF 2023): improve labels of a method by similarities between images of a person."""
    from train.methods.optimisation.manifest import optimise_manifest
    from train.methods.optimisation.ranks import OptimisationSettings

    with error_exits():
        check_outputs({"--out": out}, filter(None, (labels, embeddings, clustering)))
        settings = OptimisationSettings(epsilon, iterations, clusters, seed)
        table = optimise_manifest(labels, label, embeddings, out, settings, name, clustering)
        column = table.column(table.num_columns - 1)
        optimised = len(column) - column.null_count
        print_plain(Console(), f"{out}: {optimised} labels optimised, {column.null_count} rows without one")

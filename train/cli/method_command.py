"""Commands of `fiqa-train label`: one for each labelling method, with the method's parameters as its options."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_origin

import typer
from typer.core import TyperCommand

from sdk.commands.console import error_exits
from sdk.errors import InputError
from sdk.files import check_outputs, check_suffix
from train.cli.summary import print_summary
from train.labelling.parameters import Callers, Device, Embeddings, EngineName, MethodBatch, Out, Source
from train.methods import LABELLERS
from train.references import resolve

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the labeller; may be repeated.")
]


RUN: dict[str, tuple[Any, Any]] = {
    "source": (Source, inspect.Parameter.empty),
    "out": (Out, inspect.Parameter.empty),
    "settings": (Settings, None),
    "embeddings": (Embeddings, None),
    "batch": (MethodBatch, None),
    "device": (Device, "auto"),
    "callers": (Callers, None),
    "engine": (EngineName, "plain"),
}
"""Options of a run, which are not the method's: annotation and default by name."""


class MethodCommand(TyperCommand):
    """Command of a method of the table. The method is imported when the command is called: most methods need torch."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read what was typed, with the options of the method."""
        reference, about = LABELLERS[str(self.name)]
        return command_of(reference, about).make_context(info_name, args, parent, **extra)


class OwnMethodCommand(TyperCommand):
    """Command of a user's own method, which takes `--set NAME=VALUE`, too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read each `--set NAME=VALUE` as the option of that name."""
        with error_exits():
            return super().parse_args(ctx, list(self._options(iter(args))))

    def _options(self, words: Iterator[str]) -> Iterator[str]:
        known = {str(option.name): option for option in self.params if option.name not in RUN}
        for word in words:
            if word != "--set" and not word.startswith("--set="):
                yield word
                continue
            text = next(words, "") if word == "--set" else word.removeprefix("--set=")
            name, equals, value = text.partition("=")
            if name not in known or not equals:
                raise InputError(f"--set is {text!r}, wanted NAME=VALUE with one of: {', '.join(known) or 'none'}")
            option: Any = known[name]
            if getattr(option, "is_flag", False):
                if value not in ("true", "false"):
                    raise InputError(f"--set is {text!r}, wanted {name}=true or {name}=false")
                yield option.opts[0] if value == "true" else option.secondary_opts[0]
            else:
                yield from (option.opts[0], *(value.split(",") if option.nargs > 1 else [value]))


def command_of(reference: str, about: str | None = None) -> Any:
    """Make the command of a method.

    Args:
        reference: Where it is, `module:name`.
        about: Help; None for a user's own method, which is described by its docstring.

    Raises:
        InputError: It is not there, is no method, or has a parameter that cannot be an option.
    """
    from train.labelling.method import SPECIAL, parameters_of, takes_one_caller

    method, own = resolve(reference), about is None
    taken = parameters_of(method)
    given = [name for name in taken if name not in SPECIAL]
    if clash := sorted(set(given) & set(RUN)):
        raise InputError(f"{reference} has a parameter {clash[0]!r}, which is an option of every run; rename it")
    left_out = {
        "settings": not own or not given,
        "embeddings": not own and "embed" not in taken,
        "device": "device" not in taken,
        "callers": takes_one_caller(method),
    }
    run = [_parameter(name, *of) for name, of in RUN.items() if not left_out.get(name, False)]
    parameters = [*run[:2], *(_option(taken[name]) for name in given), *run[2:]]
    app = typer.Typer(add_completion=False)
    command = OwnMethodCommand if own else TyperCommand
    app.command(cls=command, help=about or inspect.getdoc(method))(_labelling(method, given, parameters))
    try:
        return typer.main.get_command(app)
    except (RuntimeError, TypeError, AssertionError) as error:  # what typer raises for a type that it does not know
        raise InputError(
            f"{reference} has a parameter that cannot be an option: {error}; annotate it as str"
        ) from error


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _option(parameter: inspect.Parameter) -> inspect.Parameter:
    """Make a parameter of a method an option, also where it has no default, for typer makes that an argument."""
    annotation = str if parameter.annotation is inspect.Parameter.empty else parameter.annotation
    if get_origin(annotation) is not Annotated:
        annotation = Annotated[annotation, typer.Option()]
    return _parameter(parameter.name, annotation, parameter.default)


def _labelling(
    method: Callable[..., Any], options: list[str], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """Return the function of a method's command, with these parameters in the eyes of typer."""

    def label(
        source: Path,
        out: Path,
        embeddings: Path | None = None,
        batch: int | None = None,
        device: str = "auto",
        callers: int | None = None,
        engine: str = "plain",
        **values: Any,
    ) -> None:
        from sdk.models.loading import is_path
        from train.labelling.method import RunOptions, label_images

        with error_exits():
            given = {name: values[name] for name in options}
            files = [value for value in given.values() if isinstance(value, Path)]
            files += [Path(value) for value in given.values() if isinstance(value, str) and is_path(value)]
            if embeddings is not None:
                check_suffix("--embeddings", embeddings, (".npy",))
            check_outputs({"--out": out, "--embeddings": embeddings}, [source, *files])
            run = RunOptions(batch, device, callers, engine)
            errors = label_images(method, given, source, out, embeddings, run)["error"].to_pylist()
            print_summary(out, len(errors), sum(bool(error) for error in errors), "labelled")

    vars(label)["__signature__"] = inspect.Signature(parameters)
    label.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return label

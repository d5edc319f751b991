"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scmrl_plugins.cli.common import completion, output
from scmrl_plugins.core.system import collector
from scmrl_plugins.registry import UserError, catalogue, register_file
from scmrl_plugins.registry.kinds import TABLE, Kind

if TYPE_CHECKING:
    from scmrl_plugins.core.config.sections import ExperimentConfig

F = TypeVar("F", bound=Callable[..., Any])


def several(listed: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """Several options as one decorator, in their order."""

    def add(function: F) -> F:
        for option in reversed(listed):
            function = option(function)
        return function

    return add


device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    help="Device to run on; auto selects an accelerator if available.",
)


def _keep_stdout(ctx: click.Context, _param: click.Parameter, as_json: bool) -> bool:
    if as_json and not ctx.resilient_parsing:  # as in completion
        ctx.meta[output.STDOUT] = ctx.with_resource(output.reserved())
    return as_json


def json_of(help: str) -> Callable[[F], F]:
    """``--json`` of a command, with its help."""
    return click.option("--json", "as_json", is_flag=True, callback=_keep_stdout, help=help)


json = json_of("Print a single JSON document to standard output.")


class _Output(click.Path):
    """A file or directory to write to; one where that is not possible is refused before any work."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        from scmrl_plugins.core.system import files  # here, as --help imports this module

        path = super().convert(value, param, ctx)
        if not (ctx and ctx.resilient_parsing):  # as in completion
            files.check_name(Path(os.fsdecode(path)))
            what = f"another {self.name} with {param.opts[0]}" if param else f"another {self.name}"
            files.check_creatable(Path(os.fsdecode(path)), f"choose {what}")
        return path


output_file = _Output(dir_okay=False, path_type=Path)
output_directory = _Output(file_okay=False)

predictions = click.option(
    "--predictions",
    type=output_file,
    metavar="FILE",
    help="Parquet file to write the predictions by sample to, with log-probabilities and groups.",
)

optimize = click.option(
    "--optimize",
    is_flag=True,
    help="Fold batch norm into the convolutions to save operations; the output is the same up to rounding.",
)


def _register_files(_ctx: click.Context, _param: click.Parameter, files: tuple[str, ...]) -> None:
    for file in files:
        register_file(file)


plugin = click.option(
    "--plugin",
    multiple=True,
    metavar="FILE",
    shell_complete=completion.files,
    is_eager=True,  # before --json, so that nothing is left to print when it fails
    expose_value=False,
    callback=_register_files,
    help="Python file with a plugin hook, loaded without installation; repeatable.",
)


sets = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any configuration key, such as train.epochs=10; repeatable.",
)


config = click.option(
    "-c",
    "--config",
    "files",
    multiple=True,
    metavar="FILE",
    shell_complete=completion.files,
    help="TOML configuration file; repeatable; later files override earlier ones.",
)


root = click.option(
    "--root",
    metavar="DIR",
    shell_complete=completion.folders,
    help="Directory of the data set; short for --set dataset.root=DIR.",
)


def _of_kind(kind: Kind) -> Callable[[F], F]:
    text = f"Name of a {kind.name}; repeat to sum several." if kind.repeats else f"Name of the {kind.name}."
    default = kind.default or f"{kind.plural} of the fusion"
    return click.option(
        f"--{kind.name}",
        multiple=kind.repeats,
        metavar="NAME",
        show_default=default,
        shell_complete=completion.components(kind.name),
        help=text,
    )


def experiment(function: F) -> F:
    """Add ``-c``, one option for each kind, and ``--set``: the options that describe an experiment."""
    for option in reversed([config, *map(_of_kind, TABLE.values()), sets]):
        function = option(function)
    return function


def dataset(function: F) -> F:
    """Add NAME, ``--root``, ``-c`` and ``--set``: the options that describe a data set."""
    name = click.argument("name", metavar="NAME", shell_complete=completion.components("dataset"))
    for option in (sets, config, root, name):
        function = option(function)
    return function


def given(values: dict[str, Any]) -> list[str]:
    """The names of the experiment's options that the user gave, as typed."""
    names = {"files": "-c", "sets": "--set", **{kind: f"--{kind}" for kind in TABLE}}
    return [names[key] for key, value in values.items() if value not in (None, ())]


def compose(values: dict[str, Any]) -> ExperimentConfig:
    """The configuration that the experiment's options describe."""
    with collector.paused():
        from scmrl_plugins.core.config.layers import compose as compose_layers

    options: dict[str, Any] = {}
    for kind in TABLE.values():
        value = values[kind.name]
        if value not in (None, ()):
            options[kind.name] = [{"name": name} for name in value] if kind.repeats else {"name": value}
    return compose_layers(values["files"], options, values["sets"])


def compose_dataset(name: str, root: str | None, files: Sequence[str], sets: Sequence[str]) -> ExperimentConfig:
    """The configuration that the options of ``dataset`` describe."""
    with collector.paused():
        from scmrl_plugins.core.config.layers import compose as compose_layers

    section = {"name": name}
    if root is not None:
        if "root" not in catalogue().get("dataset", name).load().Config.model_fields:
            raise UserError(f"--root {root}: data set {name!r} does not read a directory; remove --root")
        section["root"] = root
    return compose_layers(files, {"dataset": section}, sets)

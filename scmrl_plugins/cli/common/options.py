"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scmrl_plugins.cli.common import output
from scmrl_plugins.registry import UserError, catalogue, register_file
from scmrl_plugins.registry.kinds import TABLE

if TYPE_CHECKING:
    from scmrl_plugins.core.config.sections import ExperimentConfig

F = TypeVar("F", bound=Callable[..., Any])

_DEFAULTS = {kind.name: kind.default for kind in TABLE.values() if not kind.repeats}

device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    help="Device to run on; auto selects an accelerator if available.",
)


def _keep_stdout(ctx: click.Context, _param: click.Parameter, as_json: bool) -> bool:
    if as_json:
        ctx.meta[output.STDOUT] = ctx.with_resource(output.reserved())
    return as_json


json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    callback=_keep_stdout,
    help="Print a single JSON document to standard output.",
)

optimize = click.option(
    "--optimize",
    is_flag=True,
    help="Fold batch norm into the convolutions to save operations; the output is the same.",
)


def _register_files(_ctx: click.Context, _param: click.Parameter, files: tuple[str, ...]) -> None:
    for file in files:
        register_file(file)


plugin = click.option(
    "--plugin",
    multiple=True,
    metavar="FILE",
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
    help="TOML configuration file; repeatable; later files override earlier ones.",
)


root = click.option("--root", metavar="DIR", help="Directory of the data set; short for --set dataset.root=DIR.")


def experiment(function: F) -> F:
    """Add ``-c``, one option for each kind, and ``--set``: the options that describe an experiment."""
    options = [
        config,
        *(
            click.option(f"--{kind}", metavar="NAME", show_default=default, help=f"Name of the {kind}.")
            for kind, default in _DEFAULTS.items()
        ),
        click.option(
            "--loss",
            multiple=True,
            metavar="NAME",
            show_default="losses of the fusion",
            help="Name of a loss; repeat to sum several.",
        ),
        sets,
    ]
    for option in reversed(options):
        function = option(function)
    return function


def dataset(function: F) -> F:
    """Add NAME, ``--root``, ``-c`` and ``--set``: the options that describe a data set."""
    for option in (sets, config, root, click.argument("name", metavar="NAME")):
        function = option(function)
    return function


def given(values: dict[str, Any]) -> list[str]:
    """The names of the experiment's options that the user gave, as typed."""
    names = {"files": "-c", "sets": "--set", "loss": "--loss", **{kind: f"--{kind}" for kind in _DEFAULTS}}
    return [names[key] for key, value in values.items() if value not in (None, ())]


def compose(values: dict[str, Any]) -> ExperimentConfig:
    """The configuration that the experiment's options describe."""
    from scmrl_plugins.core.config.layers import compose as compose_layers

    options: dict[str, Any] = {kind: {"name": values[kind]} for kind in _DEFAULTS if values[kind] is not None}
    if values["loss"]:
        options["loss"] = [{"name": name} for name in values["loss"]]
    return compose_layers(values["files"], options, values["sets"])


def compose_dataset(name: str, root: str | None, files: Sequence[str], sets: Sequence[str]) -> ExperimentConfig:
    """The configuration that the options of ``dataset`` describe."""
    from scmrl_plugins.core.config.layers import compose as compose_layers

    section = {"name": name}
    if root is not None:
        if "root" not in catalogue().get("dataset", name).load().Config.model_fields:
            raise UserError(f"--root {root}: data set {name!r} does not read a directory; remove --root")
        section["root"] = root
    return compose_layers(files, {"dataset": section}, sets)

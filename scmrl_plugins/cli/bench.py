from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from scmrl_plugins.cli.common import completion, options, output
from scmrl_plugins.registry import UserError

F = TypeVar("F", bound=Callable[..., Any])


@click.group("bench")
def command() -> None:
    """Benchmark accuracy, speed and data loading."""


def _results(meaning: str, *, required: bool = False) -> Callable[[F], F]:
    """``-o``, ``--plugin`` and ``--json``: where results go."""

    def decorate(function: F) -> F:
        out = click.option(
            "-o",
            "--output",
            "out",
            metavar="DIR",
            type=options.output_directory,
            required=required,
            help=meaning,
        )
        return out(options.plugin(options.json(function)))

    return decorate


def _show(report: Any, results: Mapping[str, Any], command: str, out: str | None, as_json: bool) -> None:
    """Write results to the directory ``out``, and print them as JSON or Markdown; ``report`` is their module."""
    if out is not None:
        report.write(results, Path(out), command)
    if as_json:
        output.document({"command": command, **results})
        return
    click.echo(report.markdown(results, command))
    if out is not None:
        click.echo(f"results: {Path(out) / report.PAGE}")


@command.command("accuracy")
@click.argument("grid", metavar="GRID", shell_complete=completion.files)
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Make only the cells whose names match, such as 'match/*-fold2-*', and those that they need; repeatable.",
)
@click.option("--list", "listing", is_flag=True, help="Print the names of the cells, and make nothing.")
@click.option("--report", "only_report", is_flag=True, help="Write the results of existing cells, and make none.")
@options.sets
@options.device
@_results("Directory of runs and results, created or resumed.", required=True)
def accuracy(
    grid: str,
    out: str,
    only: tuple[str, ...],
    listing: bool,
    only_report: bool,
    sets: tuple[str, ...],
    device: str,
    as_json: bool,
) -> None:
    """Compare methods over tasks, folds, seeds and conditions.

    A cell is one method on one task with one fold and seed: it is trained once and tested under every condition.
    GRID is a TOML file with [grid], [[method]], [[baseline]], [[task]] and [[condition]] sections;
    benchmarks/grids has examples. --set applies to every cell. The same command resumes an interrupted benchmark.
    Several processes with one DIR divide the cells; cells of several machines may be copied together. DIR
    receives results.json, results.md, results.png and front.png. Methods are ranked by accuracy, and those on the
    front of accuracy and energy are marked.
    """
    from scmrl_plugins.bench.accuracy import report
    from scmrl_plugins.bench.accuracy.cells import select
    from scmrl_plugins.bench.accuracy.grid import read_grid
    from scmrl_plugins.bench.accuracy.records import Directory
    from scmrl_plugins.bench.accuracy.run import Bench
    from scmrl_plugins.bench.accuracy.summary import summarize
    from scmrl_plugins.core.system import devices
    from scmrl_plugins.core.system.progress import Progress

    described = read_grid(grid, sets)
    with Progress() as progress:
        bench = Bench(described, Directory(Path(out)), devices.resolve(device), progress)
        names = [cell.name for cell in select(bench.cells, only)]
        if listing:
            output.document({"cells": names}) if as_json else click.echo("\n".join(names))
            return
        if not only_report:
            bench.make_all(names)
        made = bench.made()
    if not made:
        raise UserError(f"{out}: no cell of {grid} was made yet; leave out --report")
    typed = ["scmrl", "bench", "accuracy", grid, "-o", out, *(word for key in sets for word in ("--set", key))]
    _show(report, summarize(described, made, len(bench.cells)), shlex.join(typed), out, as_json)


def _shape(_ctx: click.Context, _param: click.Parameter, text: str) -> tuple[int, ...]:
    """``4,8,32`` as sizes."""
    parts = text.split(",")
    if len(parts) < 2 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise click.BadParameter(f"{text!r}: expected two or more sizes, time first, such as 4,8,32,128,128")
    return tuple(int(part) for part in parts)


def _size(name: str, default: int, largest: int, meaning: str, smallest: int = 1) -> Any:
    return click.option(f"--{name}", type=click.IntRange(smallest, largest), default=default, help=meaning)


@command.command("speed")
@click.option(
    "--fusion",
    metavar="NAME",
    default="cmrl",
    shell_complete=completion.components("fusion"),
    help="Fusion block.",
)
@_size("batch", 8, 65536, "Samples per step.")
@_size("image-size", 128, 4096, "Height and width of both inputs in pixels.", smallest=4)
@_size("steps", 4, 1024, "Number of time steps T.")
@_size("dims", 256, 8192, "Embedding dimension D.")
@_size("heads", 16, 1024, "Number of attention heads; must divide --dims.")
@_size("threads", 2, 1024, "Number of threads per process.")
@_size("repeats", 5, 1000, "Number of rounds.")
@click.option(
    "--kernel-shape",
    metavar="SIZES",
    default="4,8,32,128,128",
    callback=_shape,
    help="Input shape for the neuron benchmark, time first.",
)
@click.option(
    "--scaling", is_flag=True, help="Also measure the cost for several numbers of time steps and tokens."
)
@click.option("--profile", is_flag=True, help="Also profile our training step by operator.")
@options.device
@_results("Directory for the results.")
def speed(device: str, scaling: bool, profile: bool, out: str | None, as_json: bool, **settings: Any) -> None:
    """Compare the speed of the model to its published form.

    Both run alternately, each in a separate process. The baseline steps BrainCog's LIFNode in Python, runs every
    layer on every time step with channels first, and compiles nothing. Ratios are baseline / ours, of the
    shortest times. DIR receives speed.json and speed.md.
    """
    from scmrl_plugins.bench.speed import compare, report
    from scmrl_plugins.bench.speed.settings import Settings
    from scmrl_plugins.core.system import devices
    from scmrl_plugins.core.system.progress import Progress

    resolved = str(devices.resolve(device))
    values = {**settings, "kernel_shape": ",".join(map(str, settings["kernel_shape"]))}
    words = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    flags = ["--scaling"] * scaling + ["--profile"] * profile
    typed = shlex.join(["scmrl", "bench", "speed", *words, *flags, "--device", resolved])
    with Progress() as progress:
        results = compare.run(Settings(**settings), resolved, progress, scaling=scaling, profile=profile)
    _show(report, results, typed, out, as_json)


@command.command("data")
@click.argument("name", metavar="[NAME]", required=False, shell_complete=completion.components("dataset"))
@options.root
@options.config
@options.sets
@_size(
    "samples",
    512,
    10**6,
    "Maximum number of training samples; without NAME, the number of clips to write.",
    smallest=8,
)
@_size("repeats", 5, 1000, "Number of epochs per measurement.")
@_results("Directory for the results.")
def data(
    name: str | None,
    root: str | None,
    files: tuple[str, ...],
    sets: tuple[str, ...],
    samples: int,
    repeats: int,
    out: str | None,
    as_json: bool,
) -> None:
    """Compare loading stored features to decoding files.

    Measures time and memory of training samples. Without NAME, measures clips of CREMA-D's size (2.5 s of sound,
    480 x 360 pixels), written to a temporary directory. DIR receives data.json and data.md.
    """
    if name is None and root is not None:
        raise UserError(f"--root {root}: the data set is missing; give its NAME")
    from scmrl_plugins.bench.data import compare, report
    from scmrl_plugins.bench.data.clips import clips
    from scmrl_plugins.core.system.progress import Progress

    words = ["scmrl", "bench", "data", *filter(None, [name]), *(["--root", root] if root is not None else [])]
    words += [word for file in files for word in ("-c", file)]
    words += [word for setting in sets for word in ("--set", setting)]
    typed = shlex.join([*words, "--samples", str(samples), "--repeats", str(repeats)])
    with contextlib.ExitStack() as stack:
        if name is None:
            name, root = "av-folder", str(stack.enter_context(clips(samples)))
        config = options.compose_dataset(name, root, files, sets)
        progress = stack.enter_context(Progress())
        results = compare.run(config, samples, repeats, progress)
    _show(report, results, typed, out, as_json)

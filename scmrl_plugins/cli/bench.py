from __future__ import annotations

import shlex
from pathlib import Path

import click

from scmrl_plugins.cli import options, output


@click.group("bench")
def command() -> None:
    """Compare methods under one protocol."""


@command.command("accuracy")
@click.argument("grid", metavar="GRID")
@click.option("-o", "--output", "out", metavar="DIR", required=True, help="Where runs and results go, or went.")
@options.sets
@options.device
@options.plugin
@options.json
def accuracy(grid: str, out: str, sets: tuple[str, ...], device: str, as_json: bool) -> None:
    """Train every method of GRID under every seed, test it under every condition, and compare.

    GRID is a TOML file with [grid], [[method]] and [[condition]]; benchmarks/grids has some. --set goes to every
    method. The same command goes on with what is not done yet. DIR gets results.json, results.md and results.png.
    """
    from scmrl_plugins.core import devices, grid_report
    from scmrl_plugins.core.grid import read_grid, run_grid
    from scmrl_plugins.core.progress import Progress

    place = devices.resolve(device)
    wanted = read_grid(grid, sets)
    with Progress() as progress:
        results = run_grid(wanted, Path(out), place, progress)
    summary = grid_report.summarize(results)
    given = [word for setting in sets for word in ("--set", setting)]
    typed = shlex.join(["scmrl", "bench", "accuracy", grid, "-o", out, *given])
    grid_report.write(summary, Path(out), typed)
    if as_json:
        output.document({"command": typed, **summary})
        return
    click.echo(grid_report.markdown(summary, typed))
    click.echo(f"results: {Path(out) / 'results.md'}")

from __future__ import annotations

import shlex
from pathlib import Path

import click

from scmrl_plugins.cli.common import options, output
from scmrl_plugins.registry import UserError, catalogue


@click.command("sweep")
@click.argument("file", metavar="FILE")
@click.option("-o", "--output", "out", metavar="DIR", required=True, help="Where runs and results go, or went.")
@options.sets
@click.option("--address", metavar="HOST:PORT", help="A Ray cluster to run on; default this machine.")
@options.device
@options.plugin
@options.json
def command(file: str, out: str, sets: tuple[str, ...], address: str | None, device: str, as_json: bool) -> None:
    """Search settings on a grid or at random, trials side by side by Ray Tune, and rank them by validation.

    FILE is a TOML configuration with [sweep] and [space]; docs/sweeps.md says what these may have. --set goes to
    every trial, or to the sweep: --set sweep.trials=40. The same command goes on with what is not done yet. DIR
    gets results.json, results.md, results.png and a run a trial. Exits with 1 if a trial failed.
    """
    from importlib.util import find_spec

    from scmrl_plugins.core.system.progress import Progress
    from scmrl_plugins.sweep import ray_tune, report, sweep

    if find_spec("ray") is None:
        raise UserError(ray_tune.INSTALL)
    if address:
        ray_tune.check_address(address)
    given = [word for setting in sets for word in ("--set", setting)]
    given += [*(["--address", address] if address else []), *(["--device", device] if device != "auto" else [])]
    given += [word for plugin in catalogue().inline_files() for word in ("--plugin", plugin)]
    typed = shlex.join(["scmrl", "sweep", file, "-o", out, *given])
    wanted = sweep.read_sweep(file, sets)
    trials = wanted.trials()
    place = sweep.Place(Path(out))
    with Progress() as progress:
        configs = sweep.check(trials, progress)
        with place.locked():
            sweep.claim(wanted, trials, configs, place)
            try:
                sweep.prepare_data(trials, place, progress)
                ray_tune.run(wanted.section, trials, place, device, progress, address)
            except KeyboardInterrupt:
                report.write(report.summarize(wanted, trials, place), place.path, typed)
                progress.line(f"what is through is in {place.path / 'results.md'}; go on with {typed}")
                raise
            summary = report.summarize(wanted, trials, place)
            report.write(summary, place.path, typed)
    if as_json:
        output.document({"command": typed, **summary})
    else:
        click.echo(report.markdown(summary, typed))
        click.echo(f"results: {place.path / 'results.md'}")
    if failed := len(trials) - summary["count"]["done"]:
        click.echo(f"{failed} of {len(trials)} trials failed; the same command tries them again", err=True)
        click.get_current_context().exit(1)

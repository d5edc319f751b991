from __future__ import annotations

import shlex
from pathlib import Path

import click

from scmrl_plugins.cli.common import options, output
from scmrl_plugins.registry import UserError, catalogue


@click.command("sweep")
@click.argument("file", metavar="FILE")
@click.option(
    "-o",
    "--output",
    "out",
    metavar="DIR",
    required=True,
    help="Directory of runs and results, created or resumed.",
)
@options.sets
@click.option("--address", metavar="HOST:PORT", show_default="this machine", help="Address of a Ray cluster.")
@options.device
@options.plugin
@options.json
def command(file: str, out: str, sets: tuple[str, ...], address: str | None, device: str, as_json: bool) -> None:
    """Search hyperparameters with parallel trials on Ray Tune.

    Grid or random search; trials are ranked by validation. FILE is a TOML configuration with [sweep] and [space]
    sections, described in docs/sweeps.md. --set applies to every trial, or to the sweep: --set sweep.trials=40.
    The same command resumes an interrupted sweep. DIR receives results.json, results.md, results.png and one run
    directory per trial. Exits with 1 if a trial failed.
    """
    from importlib.util import find_spec

    from scmrl_plugins.core.system.progress import Progress
    from scmrl_plugins.explain.report import write as write_report
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
                ray_tune.run(wanted.section, trials, place, device, progress, address, write_report)
            except KeyboardInterrupt:
                report.write(report.summarize(wanted, trials, place), place.path, typed)
                progress.line(f"finished trials are in {place.path / 'results.md'}; resume with {typed}")
                raise
            summary = report.summarize(wanted, trials, place)
            report.write(summary, place.path, typed)
    if as_json:
        output.document({"command": typed, **summary})
    else:
        click.echo(report.markdown(summary, typed))
        click.echo(f"results: {place.path / 'results.md'}")
    if failed := len(trials) - summary["count"]["done"]:
        click.echo(f"{failed} of {len(trials)} trials failed; the same command retries them", err=True)
        click.get_current_context().exit(1)

from __future__ import annotations

import shlex
from pathlib import Path

import click

from scmrl_plugins.cli.common import completion, options, output
from scmrl_plugins.registry import UserError, catalogue

_directory = click.option(
    "-o",
    "--output",
    "out",
    metavar="DIR",
    type=options.output_directory,
    required=True,
    help="Directory of runs and results, created or resumed.",
)


@click.command("sweep")
@click.argument("file", metavar="FILE", shell_complete=completion.files)
@_directory
@options.sets
@click.option("--address", metavar="HOST:PORT", show_default="this machine", help="Address of a Ray cluster.")
@options.device
@options.plugin
@options.json
def command(file: str, out: str, sets: tuple[str, ...], address: str | None, device: str, as_json: bool) -> None:
    """Search hyperparameters with parallel trials on Ray.

    Grid or random search; trials are ranked by validation. FILE is a TOML configuration with [sweep] and [space]
    sections, described in docs/sweeps.md. --set applies to every trial, or to the sweep: --set sweep.trials=40.
    The same command resumes an interrupted sweep. DIR receives results.json, results.md, results.png and one run
    directory per trial. Exits with 1 if a trial failed.
    """
    from importlib.util import find_spec

    from scmrl_plugins.core.system.interrupts import Interrupted
    from scmrl_plugins.core.system.progress import Progress
    from scmrl_plugins.explain.report import write as write_report
    from scmrl_plugins.sweep import cluster, prepare, report, run
    from scmrl_plugins.sweep.directory import SweepDirectory
    from scmrl_plugins.sweep.sweep import read_sweep

    if find_spec("ray") is None:
        raise UserError(cluster.INSTALL)
    if address:
        cluster.check_address(address)
    typed = _typed(file, out, sets, address, device)
    sweep = read_sweep(file, sets)
    trials = sweep.trials()
    directory = SweepDirectory(Path(out))
    with Progress() as progress:
        configs = prepare.check(trials, progress)
        with directory.locked():
            directory.claim(sweep, trials, configs)
            try:
                prepare.prepare_data(trials, directory, progress)
                run.run(sweep.section, trials, directory, device, progress, address, write_report)
            except KeyboardInterrupt:
                report.write(report.summarize(sweep, trials, directory), directory.path, typed)
                raise Interrupted(f"finished trials are in {directory.page}; resume with {typed}") from None
            summary = report.summarize(sweep, trials, directory)
            report.write(summary, directory.path, typed)
    if as_json:
        output.document({"command": typed, **summary})
    else:
        click.echo(report.markdown(summary, typed))
        click.echo(f"results: {directory.page}")
    if failed := len(trials) - summary["count"]["done"]:
        click.echo(f"{failed} of {len(trials)} trials failed; the same command retries them", err=True)
        click.get_current_context().exit(1)


def _typed(file: str, out: str, sets: tuple[str, ...], address: str | None, device: str) -> str:
    """The command as it can be typed again."""
    words = ["scmrl", "sweep", file, "-o", out]
    words += [word for setting in sets for word in ("--set", setting)]
    words += ["--address", address] if address else []
    words += ["--device", device] if device != "auto" else []
    words += [word for plugin in catalogue().inline_files() for word in ("--plugin", plugin)]
    return shlex.join(words)

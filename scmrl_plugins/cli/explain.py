from __future__ import annotations

import os
import time
from pathlib import Path

import click

from scmrl_plugins.cli.common import completion, options


@click.command("explain")
@click.argument("run", metavar="RUN", shell_complete=completion.runs)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    show_default="RUN/report.html",
    help="HTML file to write.",
)
@options.device
@options.plugin
def command(run: str, output: Path | None, device: str) -> None:
    """Show what a trained network does and why, in one HTML page.

    Results, which modality they come from, firing rates, spikes, attention, robustness and energy, measured on
    samples of the test split. Takes 20 seconds at most and prints the path of the page.
    """
    started = time.monotonic()
    # Compilation takes longer than it saves here.
    os.environ.setdefault("SCMRL_COMPILE", "never")
    from scmrl_plugins.core.run.directory import open_run
    from scmrl_plugins.core.system import devices
    from scmrl_plugins.core.system.progress import Progress
    from scmrl_plugins.explain import report
    from scmrl_plugins.explain.measured import Clock

    clock = Clock(report.LIMIT - 2, started)  # less what starting Python took
    target = devices.resolve(device)
    with Progress() as progress:
        path = report.explain(open_run(run), target, clock, progress, output)
    click.echo(str(path))

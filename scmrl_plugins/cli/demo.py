from __future__ import annotations

import os
from pathlib import Path

import click

from scmrl_plugins.cli.common import options


@click.command("demo")
@options.device
@click.option(
    "-o", "--output", "run", metavar="RUN", show_default="runs/demo-NNN", help="Run directory to create."
)
def command(device: str, run: str | None) -> None:
    """Train and test S-CMRL on the built-in digits data set.

    Takes a minute or two on a CPU, then prints commands to try next. Requires the extra demo:
    pip install 'scmrl-plugins[demo]'.
    """
    # In a minute of training, compiled neurons do not earn back the half a minute that the first use takes.
    os.environ.setdefault("SCMRL_COMPILE", "never")
    from scmrl_plugins.cli.common.examples import write_examples
    from scmrl_plugins.cli.train import fit
    from scmrl_plugins.core.config.layers import compose
    from scmrl_plugins.core.model.assembly import assemble
    from scmrl_plugins.core.run.directory import check_free, next_directory
    from scmrl_plugins.core.system import devices

    place = devices.resolve(device)
    parts = assemble(compose(options={"dataset": {"name": "av-digits"}}))
    path = check_free(next_directory(Path("runs"), "demo") if run is None else run)
    target = fit(parts, place, path)
    audio, visual = write_examples(target, parts)
    click.echo(f"report: {target.report_file}")
    click.echo("try next:")
    click.echo(f"  scmrl predict {target.path} --audio {audio} --visual {visual}")
    click.echo(f"  scmrl eval {target.path} --visual-snr 0")
    click.echo(f"  scmrl train -c {target.config_file} --fusion late")

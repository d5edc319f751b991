from __future__ import annotations

import click

from scmrl_plugins.cli import options


@click.command("report")
@click.argument("run", metavar="RUN")
@options.plugin
def command(run: str) -> None:
    """Write report.html of a trained run again and say where it is."""
    from scmrl_plugins.core import report
    from scmrl_plugins.core.run import open_run

    target = open_run(run)
    report.write(target)
    click.echo(str(target.report_file))

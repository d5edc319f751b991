from __future__ import annotations

import click

from scmrl_plugins.cli.common import completion, options


@click.command("report")
@click.argument("run", metavar="RUN", shell_complete=completion.runs)
@options.plugin
def command(run: str) -> None:
    """Write report.html of a trained run and print its path."""
    from scmrl_plugins.core.run.directory import open_run
    from scmrl_plugins.explain import report

    target = open_run(run)
    report.write(target)
    click.echo(str(target.report_file))

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from scmrl_plugins.cli.common import options, output
from scmrl_plugins.registry import KINDS, Broken, Catalogue, catalogue


@click.command("plugins")
@options.json
@click.option(
    "--strict",
    is_flag=True,
    help="Also import and run every third-party component once; exit with 1 if anything is broken.",
)
@options.plugin
def command(as_json: bool, strict: bool) -> None:
    """List components by kind, and installed and broken plugins."""
    listed = catalogue()
    broken = [*listed.broken, *(_unusable(listed) if strict else [])]
    _show(listed, broken, as_json)
    if strict and broken:
        click.get_current_context().exit(1)


def _unusable(listed: Catalogue) -> Iterator[Broken]:
    """Third-party components that fail when they are imported or run."""
    if all(entry.plugin.builtin for entry in listed.entries):
        return
    from scmrl_plugins.testing import Subject, probe

    for entry in listed.entries:
        if not entry.plugin.builtin and (reason := probe(Subject(entry))):
            yield Broken(entry.plugin.name, entry.plugin.distribution, reason)


def _show(listed: Catalogue, broken: Sequence[Broken], as_json: bool) -> None:
    if as_json:
        output.document(
            {
                "components": [
                    {
                        "kind": entry.kind,
                        "name": entry.name,
                        "plugin": entry.plugin.name,
                        "summary": entry.summary,
                    }
                    for entry in listed.entries
                ],
                "plugins": [
                    {
                        "name": plugin.name,
                        "distribution": plugin.distribution,
                        "version": plugin.version,
                        "file": plugin.file,
                    }
                    for plugin in listed.plugins
                ],
                "broken": [asdict(problem) for problem in broken],
                "disabled": [plugin.name for plugin in listed.disabled],
            }
        )
        return
    # Plain columns: importing rich would take longer than discovering the plugins.
    for kind in KINDS:
        click.echo(f"{kind}:")
        entries = [entry for entry in listed.entries if entry.kind == kind]
        for entry in entries:
            click.echo(f"  {entry.name:<16} {entry.summary}  [{entry.plugin.name}]")
    click.echo("plugins:")
    for plugin in listed.plugins:
        click.echo(f"  {plugin.name:<16} {plugin.distribution} {plugin.version}")
    for plugin in listed.disabled:
        click.echo(f"  {plugin.name:<16} {plugin.distribution} {plugin.version} (off: SCMRL_DISABLE_PLUGINS)")
    if broken:
        click.echo("broken:")
    for problem in broken:
        click.echo(f"  {problem.name:<16} {problem.distribution}: {problem.error}")

from __future__ import annotations

from dataclasses import asdict

import click

from scmrl_plugins.cli import options, output
from scmrl_plugins.registry import KINDS, catalogue


@click.command("plugins")
@options.json
def command(as_json: bool) -> None:
    """List components by kind, the plugins they come from, and plugins that are broken."""
    found = catalogue()
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
                    for entry in found.entries
                ],
                "plugins": [
                    {
                        "name": plugin.name,
                        "distribution": plugin.distribution,
                        "version": plugin.version,
                        "file": plugin.file,
                    }
                    for plugin in found.plugins
                ],
                "broken": [asdict(broken) for broken in found.broken],
                "disabled": [plugin.name for plugin in found.disabled],
            }
        )
        return
    # Plain columns: drawing a table would take longer than finding the plugins.
    for kind in KINDS:
        click.echo(f"{kind}:")
        entries = [entry for entry in found.entries if entry.kind == kind]
        for entry in entries:
            click.echo(f"  {entry.name:<16} {entry.summary}  [{entry.plugin.name}]")
    click.echo("plugins:")
    for plugin in found.plugins:
        click.echo(f"  {plugin.name:<16} {plugin.distribution} {plugin.version}")
    for plugin in found.disabled:
        click.echo(f"  {plugin.name:<16} {plugin.distribution} {plugin.version} (off: SCMRL_DISABLE_PLUGINS)")
    if found.broken:
        click.echo("broken:")
    for broken in found.broken:
        click.echo(f"  {broken.name:<16} {broken.distribution}: {broken.error}")

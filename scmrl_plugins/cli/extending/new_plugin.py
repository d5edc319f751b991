from __future__ import annotations

import shlex
from pathlib import Path

import click

from scmrl_plugins.registry import KINDS


@click.command("new-plugin")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), default="fusion", help="Kind of component to create.")
@click.option("-o", "--output", "folder", metavar="DIR", show_default="scmrl-NAME", help="Directory to create.")
def command(name: str, kind: str, folder: str | None) -> None:
    """Create a plugin package: a working component and its tests.

    NAME is the name of the component, such as gated; its package is named scmrl-gated.
    """
    from scmrl_plugins.scaffold import package

    chosen = package.names(name, kind)
    files = package.render(chosen)
    target = Path(folder or chosen.distribution)
    package.write(target, files)
    click.echo(f"{kind} {chosen.component!r}, a package in {target}:")
    for path in files:
        click.echo(f"  {path}")
    click.echo("next:")
    for line in (
        f"cd {shlex.quote(str(target))}",
        "pip install -e '.[test]'",
        f"scmrl check --package {chosen.distribution}",
        "pytest",
        f"scmrl train {chosen.options}",
    ):
        click.echo(f"  {line}")

from __future__ import annotations

import click

from scmrl_plugins.cli.common import options, output


@click.command("examples")
@click.argument("name", required=False, metavar="[NAME]")
@options.json
def command(name: str | None, as_json: bool) -> None:
    """List installed configurations and grids, or print one.

    Use one by its name: `scmrl train -c scmrl:small_cpu -c scmrl:fusion/late`. Your own file can extend it:
    `extends = ["scmrl:small_cpu"]`. Grids are for `scmrl bench accuracy`, sweeps for `scmrl sweep`.
    """
    from scmrl_plugins.core.config import examples

    if name is not None:
        path = examples.path_of(name.removeprefix(examples.PREFIX))
        text = path.read_text(encoding="utf-8")
        if as_json:
            output.document({"name": name.removeprefix(examples.PREFIX), "text": text})
        else:
            click.echo(text, nl=False)
        return
    summaries = {name: examples.summary(path) for name, path in examples.listed().items()}
    if as_json:
        output.document({"examples": [{"name": name, "summary": text} for name, text in summaries.items()]})
        return
    width = max(map(len, summaries), default=0) + len(examples.PREFIX)
    for one, text in summaries.items():
        click.echo(f"{examples.PREFIX + one:<{width}}  {text}")

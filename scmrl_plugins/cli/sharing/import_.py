from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from scmrl_plugins.cli.common import completion, options, output


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path), shell_complete=completion.files)
@options.experiment
@click.option(
    "-o", "--output", "path", metavar="RUN", required=True, type=click.Path(path_type=Path), help="Run to create."
)
@click.option("--partial", is_flag=True, help="Take the weights that fit; the others keep their initial values.")
@options.json
@options.plugin
def command(file: Path, path: Path, partial: bool, as_json: bool, **experiment: Any) -> None:
    """Make a run of the weights in FILE and of a configuration.

    FILE is a checkpoint of torch (.pt, .pth, .pth.tar) or safetensors, with the names of this project or those of
    the published S-CMRL code. The weights may be inside of it, as under state_dict, and their names may begin with
    module., _orig_mod. or model., which are taken off. Tensors that are missing, unused or of another shape are
    named. Nothing in FILE is run as code.
    """
    config = options.compose(experiment)
    from scmrl_plugins.core.run.importing import import_run

    run, fit, checkpoint = import_run(file, config, path, partial=partial)
    if as_json:
        found = {"container": checkpoint.container, "stripped": checkpoint.stripped}
        output.document({"run": str(run.path), "complete": fit.complete, **dataclasses.asdict(fit), **found})
        return
    for what, names in (
        ("missing, left at initial values", fit.missing),
        ("unused", fit.unused),
        ("of another shape, left at initial values", fit.misshapen),
        ("not used by the published code either", fit.ignored),
    ):
        if names:
            output.table(f"{len(names)} {what}", [(name,) for name in names])
    where = f" under {checkpoint.container}" if checkpoint.container else ""
    off = f", without the prefixes {', '.join(checkpoint.stripped)}" if checkpoint.stripped else ""
    kind = f", converted from {', '.join(fit.converted)}" if fit.converted else ""
    click.echo(f"{len(fit.loaded)} tensors{where} with {fit.names} names{off}{kind}")
    click.echo(f"run: {run.path} (evaluate it with scmrl eval {run.path})")

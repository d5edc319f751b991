from __future__ import annotations

import os
from pathlib import Path

import click

from scmrl_plugins.cli.common import completion, options, output
from scmrl_plugins.export.formats import FORMATS


@click.command("export")
@click.argument("run", metavar="RUN", shell_complete=completion.runs)
@click.option("--format", "name", type=click.Choice(list(FORMATS)), required=True, help="Format of the file.")
@click.option(
    "-o",
    "--output",
    "path",
    type=options.output_file,
    metavar="FILE",
    show_default="RUN/exported with the ending of the format",
    help="File to write.",
)
@click.option(
    "--steps",
    type=click.IntRange(1, 1024),
    show_default="those of the run",
    help="Time steps of the exported model, which are fixed in the file.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    show_default="2000, or 256 whose features are not stored",
    help="Test samples at most to compare the file with the model on.",
)
@click.option("--partial", is_flag=True, help="With nir: leave out the layers that NIR does not have.")
@options.json
@options.plugin
def command(
    run: str, name: str, path: Path | None, steps: int | None, samples: int | None, partial: bool, as_json: bool
) -> None:
    """Write the model of RUN in the format of other programs.

    The file takes batches of any size; its time steps are unrolled. It is read back and run on samples of the test
    split. It must predict the same classes, and logits within 1e-4 for 99 % of the samples, as rounding may move a
    spike at the threshold; else it is an error and no file is left.
    """
    # Compilation takes longer than it saves here.
    os.environ.setdefault("SCMRL_COMPILE", "never")
    from scmrl_plugins.core.run.directory import open_run
    from scmrl_plugins.core.system.progress import Progress
    from scmrl_plugins.export.exporting import export

    opened = open_run(run)
    file = path or opened.path / f"exported{FORMATS[name].ending}"
    with Progress() as progress:
        exported = export(opened, name, file, steps=steps, samples=samples, partial=partial, progress=progress)
    if as_json:
        output.document(exported.as_dict())
        return
    sizes = {**exported.inputs, **exported.outputs}
    rows = [
        ("format", f"{name}: {FORMATS[name].summary}"),
        ("time steps", str(exported.steps)),
        *((key, str(size).replace("'", "")) for key, size in sizes.items()),
    ]
    output.table(f"Exported {exported.path}", rows)
    if exported.lacking:
        left_out = [(layer, ", ".join(reasons)) for layer, reasons in exported.lacking.items()]
        output.table("Left out", left_out, ("layer", "what NIR does not have"))
    click.echo(str(exported.comparison))

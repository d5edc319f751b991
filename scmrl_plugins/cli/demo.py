from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scmrl_plugins.cli.common import options

if TYPE_CHECKING:
    from scmrl_plugins.core.model.assembly import Assembly


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
    # Compilation takes half a minute at first use, more than compiled neurons save in so short a training.
    os.environ.setdefault("SCMRL_COMPILE", "never")
    from scmrl_plugins.cli.common.training import fit
    from scmrl_plugins.core.config.layers import compose
    from scmrl_plugins.core.model.assembly import assemble
    from scmrl_plugins.core.run.directory import check_free, next_directory
    from scmrl_plugins.core.system import devices

    target = devices.resolve(device)
    parts = assemble(compose(options={"dataset": {"name": "av-digits"}}))
    trained = fit(parts, target, check_free(next_directory(Path("runs"), "demo") if run is None else run))
    audio, visual = _write_example(trained.path / "examples", parts)
    click.echo(f"report: {trained.report_file}")
    click.echo("try next:")
    click.echo(f"  scmrl predict {trained.path} --audio {audio} --visual {visual}")
    click.echo(f"  scmrl eval {trained.path} --visual-snr 0")
    click.echo(f"  scmrl train -c {trained.config_file} --fusion late")


def _write_example(folder: Path, parts: Assembly) -> list[Path]:
    """Write the audio and the image of the first test sample as files, to try ``scmrl predict`` on."""
    row = parts.dataset.splits()["test"][0]
    label = parts.dataset.classes[row["label"]]
    folder.mkdir(exist_ok=True)
    paths = {"audio": folder / f"{label}.wav", "visual": folder / f"{label}.png"}
    for column, path in paths.items():
        path.write_bytes(row[column]["bytes"])
    return list(paths.values())

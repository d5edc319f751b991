from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scmrl_plugins.cli.common import completion, options
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import printable

if TYPE_CHECKING:
    from scmrl_plugins.core.run.directory import Run

_FILE = click.Path(path_type=Path)


@click.command("explain")
@click.argument("runs", metavar="RUN [RUN]...", nargs=-1, required=True, shell_complete=completion.runs)
@click.option("--audio", type=_FILE, metavar="FILE", help="Explain this audio file instead of the test split.")
@click.option("--visual", type=_FILE, metavar="FILE", help="Explain this image or video file.")
@click.option("--video", type=_FILE, metavar="FILE", help="Explain this video file with sound: both of them.")
@click.option(
    "--convert", is_flag=True, help="Resample the audio and resize the image to match the training data."
)
@click.option(
    "-o",
    "--output",
    type=options.output_file,
    metavar="FILE",
    show_default="RUN/report.html, RUN/sample.html for a sample, comparison.html for several runs",
    help="HTML file to write.",
)
@options.device
@options.plugin
def command(
    runs: tuple[str, ...],
    audio: Path | None,
    visual: Path | None,
    video: Path | None,
    convert: bool,
    output: Path | None,
    device: str,
) -> None:
    """Show what a trained network does and why, in one HTML page.

    Results, which modality they come from, firing rates, spikes, attention, robustness and energy, measured on
    samples of the test split; of several runs a comparison with paired differences; or the same for one sample,
    given as files. Takes 20 seconds at most and prints the path of the page.
    """
    from scmrl_plugins.explain.clock import Clock

    clock = Clock()
    os.environ.setdefault("SCMRL_COMPILE", "never")  # compilation takes longer than it saves here
    from scmrl_plugins.core.run.directory import open_run
    from scmrl_plugins.core.system import devices
    from scmrl_plugins.core.system.progress import Progress
    from scmrl_plugins.explain import compare, report

    if video is not None:
        if audio is not None or visual is not None:
            raise UserError("--video gives both sound and picture: leave out --audio and --visual, or --video")
        audio = visual = video
    sample = audio is not None or visual is not None
    if (sample and len(runs) > 1) or (convert and not sample):
        raise UserError("a sample is explained for one RUN, given by --audio, --visual or --video, with --convert")
    opened = [open_run(run) for run in runs]
    output = output or _default(opened, sample)
    target = devices.resolve(device)
    with Progress() as progress:
        if sample:
            path = _sample(runs[0], audio, visual, convert, output, device)
        elif len(runs) > 1:
            path = compare.explain(opened, target, clock, output, progress)
        else:
            path = report.explain(opened[0], target, clock, progress, output)
    click.echo(str(path))


def _default(runs: list[Run], sample: bool) -> Path:
    """The file of the page where none is named; ``UserError`` if it cannot be written."""
    from scmrl_plugins.core.system import files

    inside = runs[0].path / "sample.html" if sample else runs[0].report_file
    path = inside if len(runs) == 1 else Path("comparison.html")
    files.check_creatable(path, "name another file with -o")
    return path


def _sample(name: str, audio: Path | None, visual: Path | None, convert: bool, output: Path, device: str) -> Path:
    """The page of a sample; notes on what was repaired in its files go to standard error."""
    from scmrl_plugins.core.data.transform import collect_repairs
    from scmrl_plugins.core.evaluation.predict import file_inputs
    from scmrl_plugins.core.run.directory import open_run
    from scmrl_plugins.core.system import devices
    from scmrl_plugins.explain import sample

    run, target = open_run(name), devices.resolve(device)
    parts = run.assemble()
    parts.model.to(target)
    with collect_repairs() as repairs:
        inputs = file_inputs(parts, audio, visual, target, convert=convert)
    for repair in repairs:
        click.echo(f"note: {printable(str(repair))}", err=True)
    names = dict.fromkeys(path.name for path in (audio, visual) if path is not None)
    return sample.explain(run, parts, inputs, " and ".join(names), output)

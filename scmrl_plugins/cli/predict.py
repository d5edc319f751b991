from __future__ import annotations

from pathlib import Path

import click

from scmrl_plugins.cli.common import completion, options, output
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import printable


@click.command("predict")
@click.argument("run", metavar="RUN", shell_complete=completion.runs)
@click.option("--audio", type=click.Path(path_type=Path), metavar="FILE", help="Audio file to classify.")
@click.option("--visual", type=click.Path(path_type=Path), metavar="FILE", help="Image or video file to classify.")
@click.option(
    "--video", type=click.Path(path_type=Path), metavar="FILE", help="Video file with sound: both of them."
)
@click.option(
    "--convert",
    is_flag=True,
    help="Resample the audio and resize the image to match the training data.",
)
@options.optimize
@options.device
@options.json
@options.plugin
def command(
    run: str,
    audio: Path | None,
    visual: Path | None,
    video: Path | None,
    convert: bool,
    optimize: bool,
    device: str,
    as_json: bool,
) -> None:
    """Classify a sound, a picture, both, or a video with its sound.

    Prints the labels that the model of RUN predicts, with their probabilities.
    """
    from scmrl_plugins.core.data.transform import collect_repairs
    from scmrl_plugins.core.evaluation.predict import predict
    from scmrl_plugins.core.model.folding import optimize as fold
    from scmrl_plugins.core.run.directory import open_run
    from scmrl_plugins.core.system import devices

    if video is not None:
        if audio is not None or visual is not None:
            raise UserError("--video gives both sound and picture: leave out --audio and --visual, or --video")
        audio = visual = video
    target = devices.resolve(device)
    parts = open_run(run).assemble()
    optimized = {"folded": fold(parts.model)} if optimize else None
    with collect_repairs() as repairs:
        ranked = predict(parts, audio, visual, target, convert=convert)
    for repair in repairs:
        click.echo(f"note: {printable(str(repair))}", err=True)
    if as_json:
        output.document({"predictions": ranked, **({"optimized": optimized} if optimized else {})})
        return
    rows = [(entry["label"], f"{entry['probability']:.2%}") for entry in ranked[:10]]
    output.table("Prediction", rows, ("label", "probability"))
    if optimized:
        click.echo(f"batch norm folded into {optimized['folded']} convolutions")

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from scmrl_plugins.cli.common import options, output


class Decibels(click.ParamType):
    """A signal-to-noise ratio: a number that leaves something of both."""

    name = "dB"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        ratio: float = click.FLOAT.convert(value, param, ctx)
        if not -200 <= ratio <= 200:  # NaN is not, either
            self.fail(f"{ratio:g} dB is not from -200 to 200", param, ctx)
        return ratio


MODALITIES = ("audio", "visual")
_SHARE = click.FloatRange(0, 1)


def _given(**values: float | None) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


@click.command("eval")
@click.argument("run", metavar="RUN")
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    help="Split to evaluate on.",
)
@click.option(
    "--audio-snr",
    type=Decibels(),
    metavar="DB",
    help="Add Gaussian noise to the audio input at this signal-to-noise ratio.",
)
@click.option(
    "--visual-snr",
    type=Decibels(),
    metavar="DB",
    help="Add Gaussian noise to the visual input at this signal-to-noise ratio.",
)
@click.option(
    "--audio-occlusion",
    type=_SHARE,
    metavar="SHARE",
    help="Occlude a square that covers this share of the spectrogram.",
)
@click.option(
    "--visual-occlusion",
    type=_SHARE,
    metavar="SHARE",
    help="Occlude a square that covers this share of the image.",
)
@click.option(
    "--drop", multiple=True, type=click.Choice(MODALITIES), help="Set the input of a modality to zero; repeatable."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    help="Random seed of noise and occlusion.",
)
@options.optimize
@options.device
@options.json
@options.plugin
def command(
    run: str,
    split: str,
    audio_snr: float | None,
    visual_snr: float | None,
    audio_occlusion: float | None,
    visual_occlusion: float | None,
    drop: tuple[str, ...],
    seed: int,
    optimize: bool,
    device: str,
    as_json: bool,
) -> None:
    """Evaluate a trained run, optionally with corrupted inputs.

    Inputs can be corrupted by noise, by occlusion, or by dropping a modality.
    """
    from scmrl_plugins.core.data.loading import evaluation_loader
    from scmrl_plugins.core.data.prepare import prepare
    from scmrl_plugins.core.evaluation.disturbance import Disturbance
    from scmrl_plugins.core.evaluation.evaluate import evaluate, first_inputs
    from scmrl_plugins.core.model.folding import optimize_measured
    from scmrl_plugins.core.run.directory import open_run
    from scmrl_plugins.core.system import devices
    from scmrl_plugins.core.system.progress import Progress

    place = devices.resolve(device)
    parts = open_run(run).assemble()
    disturbance = Disturbance.model_validate(
        {
            "noise": _given(audio=audio_snr, visual=visual_snr),
            "occlusion": _given(audio=audio_occlusion, visual=visual_occlusion),
            "dropped": drop,
        }
    )
    with Progress() as progress:
        data = prepare(parts.dataset, parts.config, [split], progress=progress)
    loader = evaluation_loader(data.splits[split], parts.config)
    model = parts.model.to(place)
    optimized = None
    if optimize:
        optimized = optimize_measured(model, first_inputs(loader, place, disturbance=disturbance, seed=seed))
    with Progress() as progress:
        progress.stage(split, len(loader))
        result = evaluate(
            model,
            parts.loss.to(place),
            loader,
            place,
            disturbance=disturbance,
            seed=seed,
            progress=progress,
        )
    if as_json:
        found = {"optimized": asdict(optimized)} if optimized else {}
        output.document({"split": split, "skipped": len(data.bad), **result.as_dict(), **found})
        return
    output.table(
        ", ".join(filter(None, [f"{run}: {split} split", str(disturbance)])),
        [
            ("accuracy", f"{result.accuracy:.2%}"),
            ("samples", f"{result.n:,}"),
            *([("bad files left out", f"{len(data.bad):,}")] if data.bad else []),
            ("loss", f"{result.loss:.4f}"),
            *((f"class {name}", f"{value:.2%}") for name, value in result.per_class.items()),
        ],
    )
    if optimized:
        click.echo(str(optimized))

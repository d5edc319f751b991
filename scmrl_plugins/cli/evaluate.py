from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scmrl_plugins.cli.common import completion, options, output, snr

if TYPE_CHECKING:
    import torch

    from scmrl_plugins.core.data.loading import Loader
    from scmrl_plugins.core.evaluation.evaluate import Evaluation
    from scmrl_plugins.core.model.assembly import Assembly, Objective
    from scmrl_plugins.core.model.audio_visual import AudioVisualModel

F = TypeVar("F", bound=Callable[..., Any])


class Decibels(click.ParamType):
    """A signal-to-noise ratio at which neither signal nor noise vanishes."""

    name = "dB"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        ratio: float = click.FLOAT.convert(value, param, ctx)
        if not -200 <= ratio <= 200:  # false for NaN too
            self.fail(f"{ratio:g} dB is not from -200 to 200", param, ctx)
        return ratio


INPUTS = {"audio": "spectrogram", "visual": "image"}


def corruption(field: str, suffix: str, kind: click.ParamType, metavar: str, text: str) -> Callable[[F], F]:
    """``--audio-SUFFIX`` and ``--visual-SUFFIX``: the amounts of a field of ``Disturbance``.

    The function gets them as ``FIELD_audio`` and ``FIELD_visual``.
    """

    def decorate(function: F) -> F:
        for modality, name in reversed(INPUTS.items()):
            option = click.option(
                f"--{modality}-{suffix}",
                f"{field}_{modality}",
                type=kind,
                metavar=metavar,
                help=text.format(name),
            )
            function = option(function)
        return function

    return decorate


def corruptions(function: F) -> F:
    """The options of all corruptions."""
    noise = "Add Gaussian noise to the {} at this signal-to-noise ratio."
    occlusion = "Occlude a square that covers this share of the {}."
    drop = "Replace a modality by the data set's silence or black; repeatable."
    for decorate in (
        click.option("--drop", multiple=True, type=click.Choice(list(INPUTS)), help=drop),
        corruption("occlusion", "occlusion", click.FloatRange(0, 1), "SHARE", occlusion),
        corruption("noise", "snr", Decibels(), "DB", noise),
    ):
        function = decorate(function)
    return function


def _settings(amounts: dict[str, float | None], dropped: tuple[str, ...]) -> dict[str, Any]:
    """The options as fields of ``Disturbance``."""
    settings: dict[str, Any] = {"dropped": dropped}
    for option, amount in amounts.items():
        field, _, modality = option.rpartition("_")
        if amount is not None:
            settings.setdefault(field, {})[modality] = amount
    return settings


@click.command("eval")
@click.argument("run", metavar="RUN", shell_complete=completion.runs)
@click.option(
    "--split", type=click.Choice(["train", "validation", "test"]), default="test", help="Split to evaluate on."
)
@corruptions
@snr.options
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Random seed of noise and occlusion.")
@options.predictions
@click.option("--contribution", is_flag=True, help="Measure what crosses between the modalities in the fusion.")
@options.optimize
@options.device
@options.json
@options.plugin
def command(
    run: str,
    split: str,
    drop: tuple[str, ...],
    seed: int,
    predictions: Path | None,
    contribution: bool,
    optimize: bool,
    device: str,
    as_json: bool,
    **further: Any,
) -> None:
    """Evaluate a trained run, optionally with corrupted inputs.

    Inputs can be corrupted by noise, by occlusion, or by dropping a modality; --snr gives a curve. The interval of
    the accuracy is clustered by the data set's first group column, if it has one, such as the speaker.
    """
    from scmrl_plugins.core.evaluation.disturbance import Disturbance
    from scmrl_plugins.core.evaluation.evaluate import evaluate, first_inputs
    from scmrl_plugins.core.evaluation.predictions import write_predictions
    from scmrl_plugins.core.measure.recording import optimize_measured
    from scmrl_plugins.core.system import devices

    curves = snr.wanted(run, further, alone=bool(predictions or contribution))
    disturbance = Disturbance.model_validate(_settings(further, drop))
    target = devices.resolve(device)
    parts = _opened(run, split)
    loader, skipped = _loaded(parts, split)
    model, loss = parts.model.to(target), parts.loss.to(target)
    corrupted: dict[str, Any] = {"disturbance": disturbance, "seed": seed}
    optimized = optimize_measured(model, first_inputs(loader, target, **corrupted)) if optimize else None
    result = _evaluated(model, loss, loader, target, contribution, corrupted)
    if curves:
        curves.measure(result, lambda given: evaluate(model, loss, loader, target, disturbance=given, seed=seed))
        curves.show(run, split, result, as_json)
        return
    if predictions:
        described = {"run": run, "split": split, "seed": seed, "condition": disturbance.settings()}
        write_predictions(predictions, result.predictions, described)
    if as_json:
        folding = {"optimized": asdict(optimized)} if optimized else {}
        output.document({"split": split, "skipped": skipped, **result.as_dict(), **folding})
        return
    _print(", ".join(filter(None, [f"{run}: {split} split", str(disturbance)])), result, skipped, model)
    if optimized:
        click.echo(str(optimized))


def _loaded(parts: Assembly, split: str) -> tuple[Loader, int]:
    """The samples of a split, computed if they are not stored, and how many bad files were left out."""
    from scmrl_plugins.core.data.loading import evaluation_loader
    from scmrl_plugins.core.data.prepare import prepare
    from scmrl_plugins.core.system.progress import Progress

    with Progress() as progress:
        data = prepare(parts.dataset, parts.config, [split], progress=progress)
    return evaluation_loader(data.splits[split], parts.config), len(data.bad)


def _opened(run: str, split: str) -> Assembly:
    """The parts of a run, with a note if it was trained on the split."""
    from scmrl_plugins.core.run.directory import open_run

    parts = open_run(run).assemble()
    if split == "train" or (split == "validation" and parts.config.train.protocol == "published"):
        text = f"note: the run was trained on the {split} split, so this says nothing about new data"
        click.echo(text, err=True)
    return parts


def _evaluated(
    model: AudioVisualModel,
    loss: Objective,
    loader: Loader,
    device: torch.device,
    contribution: bool,
    corrupted: dict[str, Any],
) -> Evaluation:
    """The model evaluated with progress on standard error, and its contribution measured if wanted."""
    from scmrl_plugins.core.evaluation.contribution import contribution as measure
    from scmrl_plugins.core.evaluation.evaluate import evaluate
    from scmrl_plugins.core.system.progress import Progress

    with Progress() as progress:
        progress.stage("evaluation", len(loader))
        result = evaluate(model, loss, loader, device, progress=progress, blanked=True, **corrupted)
        if contribution:
            result.contribution = measure(model, loader.dataset.split, device, progress=progress, **corrupted)
    return result


def _print_contribution(model: AudioVisualModel, directions: dict[str, Any]) -> None:
    """The contribution as a table, and a line where nothing crosses."""
    from scmrl_plugins.core.evaluation.contribution import HEADER, rows, warning

    if not directions:
        click.echo(f"fusion {model.config.fusion.name!r} uses one modality: there is no cross-modal contribution")
        return
    output.table("Cross-modal contribution; changes of accuracy in points", rows(directions), HEADER)
    if line := warning(model, directions):
        click.echo(line)


def _print(title: str, result: Evaluation, skipped: int, model: AudioVisualModel) -> None:
    """The metrics as a table, and the contribution if it was measured."""
    from scmrl_plugins.core.evaluation.metrics import rows

    counts = [("samples", f"{result.n:,}")]
    if skipped:
        counts.append(("bad files left out", f"{skipped:,}"))
    if result.precision != "fp32":
        counts.append(("precision", result.precision))
    output.table(title, [*counts, *rows(result.as_dict())])
    if result.contribution is not None:
        _print_contribution(model, result.contribution)

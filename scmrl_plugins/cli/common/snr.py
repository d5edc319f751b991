"""``scmrl eval --snr``: the accuracy as a function of the signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scmrl_plugins.cli.common import options as common
from scmrl_plugins.cli.common import output
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    from scmrl_plugins.core.evaluation.disturbance import Disturbance
    from scmrl_plugins.core.evaluation.evaluate import Evaluation
    from scmrl_plugins.core.evaluation.robustness import Point

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--snr",
        metavar="START:STOP:STEP",
        help="Accuracy at each of these signal-to-noise ratios, in dB, as table, JSON and plot.",
    ),
    click.option(
        "--modality",
        "noisy",
        multiple=True,
        type=click.Choice(["audio", "visual", "both"]),
        show_default="both",
        help="With --snr: the modality with the noise; repeatable.",
    ),
    click.option(
        "--plot",
        type=common.output_file,
        metavar="FILE",
        show_default="RUN/snr.svg",
        help="With --snr: file of the plot, .svg, .png or .pdf.",
    ),
)


def options(function: F) -> F:
    """``--snr``, ``--modality`` and ``--plot``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@dataclass
class Curves:
    """The ratios, in dB, the modalities with noise, the file of the plot, and what was measured, by modality."""

    ratios: list[float]
    modalities: tuple[str, ...]
    plot: Path
    found: dict[str, list[Point]] = field(default_factory=dict)

    def measure(self, clean: Evaluation, evaluated: Callable[[Disturbance], Evaluation]) -> None:
        """The accuracy at each ratio, on top of the corruptions of ``clean``; with progress on standard error."""
        from scmrl_plugins.core.evaluation.robustness import snr_curve
        from scmrl_plugins.core.system.progress import Progress

        with Progress() as progress:
            progress.stage("noise", len(self.ratios) * len(self.modalities))

            def advancing(disturbance: Disturbance) -> Evaluation:
                result = evaluated(disturbance)
                progress.advance()
                return result

            base = clean.disturbance
            self.found = {name: snr_curve(advancing, name, self.ratios, base) for name in self.modalities}

    def show(self, run: str, split: str, clean: Evaluation, as_json: bool) -> None:
        """Print the curves as a table, or as JSON, and write the plot."""
        from scmrl_plugins.explain.plots import snr_plot

        found, accuracy, interval = self.found, float(clean.metrics["accuracy"]), clean.interval
        snr_plot(self.plot, found, accuracy, f"{Path(run).resolve().name}: {split} split, {clean.n} samples")
        if as_json:
            curves = {name: [point.as_dict("snr") for point in points] for name, points in found.items()}
            limits = [interval.low, interval.high] if interval else None
            clean_figures = {
                "n": clean.n,
                "accuracy": accuracy,
                "interval": limits,
                **clean.disturbance.settings(),
            }
            output.document({"split": split, **clean_figures, "curves": curves, "plot": str(self.plot)})
            return
        rows = [("no noise", *[f"{accuracy:.2%}"] * len(found))]
        for points in zip(*found.values(), strict=True):
            rows.append((f"{points[0].amount:g} dB", *(str(point) for point in points)))
        header = ("signal to noise", *(f"noise on {name}" for name in found))
        output.table(f"{run}: accuracy on the {split} split, {clean.n:,} samples, 95 % intervals", rows, header)
        click.echo(f"plot: {self.plot}")


def wanted(run: str, given: dict[str, Any], *, alone: bool) -> Curves | None:
    """The curves that the options ask for, which are taken out of ``given``; none without ``--snr``.

    ``alone``: whether other options ask for what is of one condition.
    """
    from scmrl_plugins.core.evaluation.robustness import affected, ratios
    from scmrl_plugins.core.run.hub import is_remote

    text, noisy, plot = (given.pop(name) for name in ("snr", "noisy", "plot"))
    if text is None:
        if noisy or plot:
            raise UserError("--modality and --plot belong to --snr: give it too, such as --snr 0:20:5")
        return None
    if alone:
        raise UserError(
            "--snr gives curves: leave out --predictions and --contribution, which are of one condition"
        )
    modalities = tuple(dict.fromkeys(noisy)) or ("both",)
    for name in {one for modality in modalities for one in affected(modality)}:
        if given.get(f"noise_{name}") is not None:
            raise UserError(f"--{name}-snr: --snr sets the noise on {name}; leave one of them out")
    file = plot or Path("" if is_remote(run) else run) / "snr.svg"
    if file.suffix not in (".svg", ".png", ".pdf"):
        raise UserError(f"--plot {file}: name a file that ends in .svg, .png or .pdf")
    return Curves(ratios(text), modalities, file)

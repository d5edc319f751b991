"""Plots as files of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scmrl_plugins.core.evaluation.robustness import Point
from scmrl_plugins.core.system import files
from scmrl_plugins.explain.shorten import shortened
from scmrl_plugins.registry import UserError

# By Okabe and Ito, safe for colour-blind readers.
COLOURS = {"audio": "#0072B2", "visual": "#D55E00", "both": "#009E73"}


def snr_plot(path: Path, curves: Mapping[str, Sequence[Point]], clean: float, title: str) -> None:
    """Accuracy against signal-to-noise ratio, a line with its intervals for each modality with noise.

    Raises ``UserError`` if the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    with rc_context({"text.parse_math": False, "svg.hashsalt": "scmrl"}):
        fig = Figure(figsize=(6, 4), layout="constrained")
        axes = fig.subplots()
        for name, points in curves.items():
            x, y = [point.amount for point in points], [point.accuracy for point in points]
            axes.plot(x, y, marker="o", color=COLOURS[name], label=f"noise on {name}")
            limits = [point.interval for point in points if point.interval]
            if len(limits) == len(points):
                low, high = zip(*limits, strict=True)
                axes.fill_between(x, low, high, color=COLOURS[name], alpha=0.18, lw=0)
        axes.axhline(clean, color="0.4", ls=":", label="no noise")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(ylim=(0, 1.03), xlabel="signal-to-noise ratio, dB", ylabel="accuracy", title=shortened(title))
        axes.grid(alpha=0.3)
        axes.legend()
        try:
            with files.replacing(path) as temporary:
                fig.savefig(temporary, format=path.suffix[1:], dpi=150)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{path}: cannot be written ({reason}); name another file with --plot") from None

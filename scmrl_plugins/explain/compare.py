"""Several runs compared: accuracies, paired differences, and the settings that differ, as one HTML page."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scmrl_plugins.core.evaluation.evaluate import evaluate
from scmrl_plugins.core.evaluation.samples import samples_of_test
from scmrl_plugins.core.evaluation.statistics import Difference, Scores, holm, paired_difference
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.explain import page
from scmrl_plugins.explain.clock import Clock
from scmrl_plugins.explain.drawing import SERIES, Drawing, Table, integer_ticks, margin, panel, percent
from scmrl_plugins.explain.facts import DAMAGED, Facts, damaged, facts
from scmrl_plugins.explain.findings import Finding
from scmrl_plugins.explain.measured import MOST
from scmrl_plugins.explain.shorten import shortened
from scmrl_plugins.registry import UserError

RUNS = 8
"""The most runs of a comparison."""


@dataclass(frozen=True)
class Pair:
    """Two runs by name, and the accuracy of the first minus that of the second."""

    first: str
    second: str
    difference: Difference


def explain(
    runs: Sequence[Run], device: torch.device, clock: Clock, output: Path, progress: Progress | None = None
) -> Path:
    """Write the comparison of 2 to ``RUNS`` runs, and return its path.

    Differences are of the predictions on the same test samples, clustered by group as ``statistics`` says, with
    Holm's correction. Raises ``UserError`` for runs without a test result.
    """
    if not 2 <= len(runs) <= RUNS:
        raise UserError(f"{len(runs)} runs: a comparison takes 2 to {RUNS}; name fewer")
    progress = progress or Progress.silent()
    known = [facts(run) for run in runs]
    names = _names(runs)
    scores, reason = _scores(known, device, clock, progress)
    pairs, reason = _pairs(names, scores) if scores else ([], reason)
    try:
        text = _page(known, names, pairs, reason)
    except DAMAGED as error:
        raise damaged(runs[0], error) from None
    files.write_text(output, text)
    return output


def _names(runs: Sequence[Run]) -> list[str]:
    """The name of each run, with its folder where two are called the same."""
    short = [shortened(run.path.resolve().name, 30) for run in runs]
    if len(set(short)) == len(short):
        return short
    return [shortened(f"{run.path.resolve().parent.name}/{run.path.resolve().name}", 40) for run in runs]


def _scores(
    known: Sequence[Facts], device: torch.device, clock: Clock, progress: Progress
) -> tuple[list[Scores], str]:
    """The predictions of every run on some test samples, the same number for each; or why there are none."""
    from scmrl_plugins.core.data.loading import evaluation_loader

    found = []
    progress.stage("predictions", len(known))
    for one in known:
        if clock.left < 0:
            return [], "time was up"
        try:
            parts = one.run.assemble()
            split, _ = samples_of_test(parts, MOST, progress)
            model, loss = parts.model.to(device), parts.loss.to(device)
            result = evaluate(model, loss, evaluation_loader(split, parts.config), device)
        except UserError as error:
            return [], str(error)
        found.append(result.predictions.scores)
        progress.advance()
    return found, ""


def _pairs(names: Sequence[str], scores: Sequence[Scores]) -> tuple[list[Pair], str]:
    """The difference of each pair of runs; or why there is none."""
    pairs = []
    try:
        for (a, first), (b, second) in itertools.combinations(zip(names, scores, strict=True), 2):
            pairs.append(Pair(a, b, paired_difference([first], [second])))
    except UserError as error:
        return [], str(error)
    return pairs, ""


def _page(known: Sequence[Facts], names: list[str], pairs: list[Pair], reason: str) -> str:
    differ, every = settings(known, names)
    differences = [("Paired differences", _differences(pairs))] if pairs else []
    return page.render(
        "compare.html",
        [
            page.Section("accuracy", "Accuracy", [("Test accuracy", _accuracies(known, names)), *differences]),
            page.Section("curves", "Training", [("Accuracy by epoch", _curves(known, names))]),
        ],
        [("settings", "Settings")],
        title=f"{len(known)} runs compared",
        subtitle=", ".join(names),
        findings=_findings(known, names, pairs, reason),
        differ=differ,
        every=every,
    )


def _findings(known: Sequence[Facts], names: list[str], pairs: list[Pair], reason: str) -> list[Finding]:
    best = max(range(len(known)), key=lambda index: known[index].test["accuracy"])
    found = [
        Finding("note", f"The highest test accuracy is that of {names[best]}, {known[best].test['accuracy']:.2%}.")
    ]
    protocols = {one.test["protocol"] for one in known}
    if len(protocols) > 1:
        found.insert(0, Finding("warn", f"The protocols differ: {', '.join(sorted(map(str, protocols)))}."))
    if not pairs:
        found.append(Finding("warn", f"The differences are not paired: {reason}."))
    corrected = holm({str(index): pair.difference.p for index, pair in enumerate(pairs)})
    for index, pair in enumerate(pairs):
        if corrected[str(index)] < 0.05:
            higher, lower = (pair.first, pair.second) if pair.difference.value > 0 else (pair.second, pair.first)
            points = 100 * abs(pair.difference.value)
            found.append(
                Finding(
                    "good",
                    f"{higher} is better than {lower} by {points:.1f} points, p = {corrected[str(index)]:.2g}.",
                    "accuracy",
                )
            )
    if pairs and min(corrected.values()) >= 0.05:
        found.append(Finding("note", "No difference is significant at 5 %, with Holm's correction.", "accuracy"))
    return found


def _accuracies(known: Sequence[Facts], names: list[str]) -> Drawing:
    values = [float(one.test["accuracy"]) for one in known]
    limits = [one.test.get("interval") for one in known]
    with panel(height=0.36 * len(names) + 0.6, left=margin(names)) as drawn:
        axes = drawn.axes()
        for row, (value, limit) in enumerate(zip(values, limits, strict=True)):
            if limit:
                axes.plot([float(x) for x in limit], [row, row], color=SERIES[0], lw=2)
            axes.plot([value], [row], "o", color=SERIES[0], ms=6)
        axes.set_yticks(range(len(names)), names)
        axes.set(ylim=(len(names) - 0.5, -0.5), xlabel="test accuracy, 95 % interval")
        axes.locator_params(axis="x", nbins=4)  # labels with two decimals are wide
        percent(axes.xaxis)
    rows = [
        [
            name,
            f"{value:.2%}",
            f"{limit[0]:.2%} to {limit[1]:.2%}" if limit else "",
            str(one.test["n"]),
            str(one.test["protocol"]),
        ]
        for name, value, limit, one in zip(names, values, limits, known, strict=True)
    ]
    return Drawing(
        drawn.svg,
        "Test accuracy: " + ", ".join(f"{row[0]} {row[1]}" for row in rows),
        "Intervals of several runs on the same samples say less than their paired differences.",
        Table(["run", "accuracy", "95 % interval", "samples", "protocol"], rows),
    )


def _differences(pairs: list[Pair]) -> Drawing:
    labels = [f"{pair.first} - {pair.second}" for pair in pairs]
    corrected = holm({str(index): pair.difference.p for index, pair in enumerate(pairs)})
    short = [shortened(label, 30) for label in labels]
    with panel(height=0.36 * len(pairs) + 0.6, left=margin(short)) as drawn:
        axes = drawn.axes()
        for row, pair in enumerate(pairs):
            found = pair.difference
            axes.plot([100 * found.low, 100 * found.high], [row, row], color=SERIES[2], lw=2)
            axes.plot([100 * found.value], [row], "o", color=SERIES[2], ms=6)
        axes.axvline(0, color=SERIES[7], lw=1)
        axes.set_yticks(range(len(pairs)), short)
        axes.set(ylim=(len(pairs) - 0.5, -0.5), xlabel="difference in points, 95 % interval")
    rows = [
        [
            label,
            f"{100 * p.difference.value:+.1f}",
            f"{100 * p.difference.low:+.1f} to {100 * p.difference.high:+.1f}",
            f"{p.difference.p:.3g}",
            f"{corrected[str(index)]:.3g}",
        ]
        for index, (label, p) in enumerate(zip(labels, pairs, strict=True))
    ]
    clusters = pairs[0].difference.clusters
    return Drawing(
        drawn.svg,
        "Paired differences of accuracy in points: " + ", ".join(f"{row[0]} {row[1]} ({row[2]})" for row in rows),
        f"On the same {pairs[0].difference.n} test samples in {clusters} clusters; a t-test.",
        Table(["runs", "points", "95 % interval", "p", "p, Holm"], rows),
    )


def _curves(known: Sequence[Facts], names: list[str]) -> Drawing:
    with panel() as drawn:
        axes = drawn.axes()
        for one, name, colour in zip(known, names, SERIES, strict=False):
            key = f"{one.chooser}_accuracy"
            lines = [line for line in one.epochs if key in line]
            axes.plot(
                [line["epoch"] for line in lines],
                [float(line[key]) for line in lines],
                color=colour,
                label=shortened(name, 24),
            )
        axes.set(xlabel="epoch", ylabel="accuracy")
        integer_ticks(axes.xaxis)
        percent(axes.yaxis)
        axes.legend()
    ends = [one.epochs[-1].get(f"{one.chooser}_accuracy", 0.0) if one.epochs else 0.0 for one in known]
    return Drawing(
        drawn.svg,
        "Accuracy on the split that chose the epoch; at the end "
        + ", ".join(f"{name} {end:.1%}" for name, end in zip(names, ends, strict=True)),
        "On the split that chose the epoch.",
    )


def settings(known: Sequence[Facts], names: Sequence[str]) -> tuple[Table, Table]:
    """The settings in which runs differ, a row each; and all settings, those marked in the last column."""
    flat = [_flat(one.config.model_dump(mode="json")) for one in known]
    keys = dict.fromkeys(key for values in flat for key in values)
    rows = [[key, *(values.get(key, "-") for values in flat)] for key in keys]
    differ = [row for row in rows if len(set(row[1:])) > 1]
    marked = [[*row, "differs" if row in differ else ""] for row in rows]
    return Table(["setting", *names], differ), Table(["setting", *names, ""], marked)


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}.")
        elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            for index, one in enumerate(value):
                found |= _flat(one, f"{before}{key}.{index}.")
        else:
            found[f"{before}{key}"] = "none" if value is None else shortened(value)
    return found

"""One sample explained: the user's files through a trained run, as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scmrl_plugins.core.evaluation.alone import without
from scmrl_plugins.core.evaluation.modalities import shapley, subsets
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system import files
from scmrl_plugins.explain import page
from scmrl_plugins.explain.drawing import (
    BOTH,
    COLOURS,
    SERIES,
    Drawing,
    Table,
    integer_ticks,
    margin,
    panel,
    percent,
)
from scmrl_plugins.explain.figures import samples
from scmrl_plugins.explain.findings import Finding
from scmrl_plugins.explain.inside import Example, examine
from scmrl_plugins.explain.shorten import shortened

SHOWN = 8
"""Classes of a drawing."""


def explain(
    run: Run, parts: Assembly, inputs: Mapping[str, Tensor], name: str, output: Path | None = None
) -> Path:
    """Write the page of a sample, ``[1, ...]`` for each modality, and return its path.

    ``output``: instead of ``sample.html`` in the run.
    """
    model = parts.model.eval()
    example, classes = examine(model, inputs, None, name), [shortened(one) for one in model.classes]
    given = _by_modality(parts, inputs, example.predicted)
    drawings = [("Prediction", _prediction(example, classes))]
    if len(inputs) > 1:
        drawings.append(("Who carries it", _carried(given, classes[example.predicted], list(inputs))))
    if example.by_step is not None:
        drawings.append(("Prediction by time step", _by_step(example, classes)))
    inside = [("Where it looks", samples.look(example, classes))]
    if example.over_time:
        inside.append(("Attention over time steps", samples.attention_over_time(example, classes)))
    inside.append(("Spikes", samples.raster(example, classes)))
    if example.membranes:
        inside.append(("Membrane potentials", samples.traces(example, classes)))
    text = page.render(
        "sample.html",
        [page.Section("prediction", "Prediction", drawings), page.Section("inside", "Inside the network", inside)],
        title=f"{shortened(name)}: {classes[example.predicted]}",
        subtitle=f"Classified by run {shortened(run.path.resolve().name)}",
        probability=f"{example.probabilities[example.predicted]:.1%}",
        headline=f"{classes[example.predicted]}, with a probability of "
        f"{example.probabilities[example.predicted]:.1%} of {len(classes)} classes.",
        findings=_findings(given, list(inputs), classes[example.predicted]),
    )
    path = output or run.path / "sample.html"
    files.write_text(path, text)
    return path


@torch.no_grad()
def _by_modality(parts: Assembly, inputs: Mapping[str, Tensor], target: int) -> dict[frozenset[str], float]:
    """The probability of a class with each set of the modalities, the others silent or black."""
    found, blank = {}, parts.dataset.blank
    for present in subsets(list(inputs)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            output = without(parts.model, inputs, blank, *(inputs.keys() - present))
            found[present] = float(output.logits[0].float().softmax(0)[target])
    return found


def _findings(given: Mapping[frozenset[str], float], modalities: list[str], predicted: str) -> list[Finding]:
    if len(modalities) < 2:
        return []
    shares = shapley(modalities, given.__getitem__)
    listed = ", ".join(f"{name} {100 * share:+.1f}" for name, share in shares.items())
    return [
        Finding(
            "note",
            f"Probability of {predicted}: {given[frozenset()]:.1%} without any input, "
            f"{given[frozenset(modalities)]:.1%} with all; the difference in points by Shapley shares: {listed}.",
            "prediction",
        )
    ]


def _prediction(example: Example, classes: Sequence[str]) -> Drawing:
    order = np.argsort(-example.probabilities, kind="stable")[:SHOWN]
    names = [shortened(classes[k], 22) for k in order]
    with panel(height=0.28 * len(order) + 0.6, left=margin(names)) as drawn:
        axes = drawn.axes()
        axes.barh(range(len(order)), example.probabilities[order], color=[BOTH, *[SERIES[0]] * (len(order) - 1)])
        axes.set_yticks(range(len(order)), names)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlim=(0, 1), xlabel="probability")
        percent(axes.xaxis)
    rows = [
        [classes[k], f"{example.probabilities[k]:.2%}"] for k in np.argsort(-example.probabilities, kind="stable")
    ]
    return Drawing(
        drawn.svg,
        "Probabilities: " + ", ".join(f"{name} {value}" for name, value in rows[:SHOWN]),
        table=Table(["class", "probability"], rows),
    )


def _carried(given: Mapping[frozenset[str], float], predicted: str, modalities: list[str]) -> Drawing:
    bars = {"all modalities": (given[frozenset(modalities)], BOTH)}
    bars |= {f"{name} alone": (given[frozenset([name])], COLOURS[name]) for name in modalities}
    bars["no input"] = (given[frozenset()], SERIES[7])
    with panel(height=0.3 * len(bars) + 0.6, left=margin(bars)) as drawn:
        axes = drawn.axes()
        axes.barh(range(len(bars)), [value for value, _ in bars.values()], color=[c for _, c in bars.values()])
        axes.set_yticks(range(len(bars)), list(bars))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlim=(0, 1), xlabel=f"probability of {shortened(predicted, 24)}")
        percent(axes.xaxis)
    rows = [[name, f"{value:.1%}"] for name, (value, _) in bars.items()]
    return Drawing(
        drawn.svg,
        f"Probability of {predicted}: " + ", ".join(f"{name} {value}" for name, value in rows),
        "What is missing is replaced by the silence or black of the data set.",
        Table(["given", "probability"], rows),
    )


def _by_step(example: Example, classes: Sequence[str]) -> Drawing:
    assert example.by_step is not None
    order = np.argsort(-example.by_step.max(0), kind="stable")[:4]
    steps = range(1, len(example.by_step) + 1)
    with panel(height=2.6) as drawn:
        axes = drawn.axes()
        for k, colour in zip(order, SERIES, strict=False):
            axes.plot(steps, example.by_step[:, k], marker="o", color=colour, label=shortened(classes[k], 20))
        axes.set(ylim=(0, 1.03), xlabel="time step", ylabel="probability")
        integer_ticks(axes.xaxis)
        percent(axes.yaxis)
        axes.legend()
    best = [classes[k] for k in example.by_step.argmax(1)]
    rows = [
        [str(step), *(f"{value:.1%}" for value in row[order])]
        for step, row in zip(steps, example.by_step, strict=True)
    ]
    return Drawing(
        drawn.svg,
        "Most probable class after each time step: " + ", ".join(best[:32]),
        "From the mean of the predictions so far.",
        Table(["time step", *(classes[k] for k in order)], rows),
    )

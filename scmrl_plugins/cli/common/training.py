"""Training as commands do it: with progress, a report, and the result printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scmrl_plugins.core.system import collector

if TYPE_CHECKING:
    import torch

    from scmrl_plugins.core.model.assembly import Assembly
    from scmrl_plugins.core.run.directory import Run


def fit(
    parts: Assembly, device: torch.device, path: Path, run: Run | None = None, predictions: Path | None = None
) -> Run:
    """Train with progress on standard error, write the report, print the result and the path, and return the run.

    Without a ``run``, one is created at ``path`` once the data and the recipe have proved usable. ``predictions``:
    the file to write those of the test split to. Of several processes, the main one creates the run and prints.
    """
    from scmrl_plugins.core.measure.operations import constant_logits
    from scmrl_plugins.core.run.directory import create_run, load_pretrained, open_run
    from scmrl_plugins.core.system.progress import Progress

    # Now, so that weights that do not fit are refused before the data is prepared.
    origins = load_pretrained(parts) if run is None else None
    with Progress() as progress:
        with collector.paused():
            from scmrl_plugins.core.training.loop import Training

            training = Training(parts, device, progress)
        if run is None and (line := constant_logits(parts.model)):
            training.progress.line(f"warning: {line}")
        training.prepare()
        main = training.processes.main
        if run is None:
            path = training.processes.broadcast(create_run(path, training.parts, origins).path if main else path)
            run = open_run(path)
        result = training.fit(run)
    if not main:
        return run
    from scmrl_plugins.core.evaluation.contribution import warning
    from scmrl_plugins.core.evaluation.predictions import write_predictions
    from scmrl_plugins.core.measure.firing import dead_layers
    from scmrl_plugins.explain import report  # only now, so that training starts earlier

    report.write(run)
    if predictions:
        write_predictions(predictions, result.predictions, {"run": str(path), "split": "test", "condition": {}})
    protocol = parts.config.train.protocol
    click.echo(f"test accuracy {result.metrics['accuracy']:.2%} of {result.n} samples ({protocol} protocol)")
    if dead := dead_layers(result.firing_rates):
        click.echo(f"warning: {len(dead)} neuron layers never fired: {', '.join(dead)}")
    if constant := result.constant_layers:
        click.echo(
            f"warning: {len(constant)} neuron layers fired the same for every sample: {', '.join(constant)}"
        )
    if result.contribution and (line := warning(parts.model, result.contribution)):
        click.echo(f"warning: {line}" if parts.model.fusion.interacts else line)
    click.echo(f"run: {path}")
    return run

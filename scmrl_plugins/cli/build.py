from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from scmrl_plugins.cli.common import options, output

if TYPE_CHECKING:
    import torch

    from scmrl_plugins.core.model.assembly import Assembly


@click.command("build")
@options.experiment
@options.device
@click.option("-o", "--output", "run", metavar="RUN", help="Save a run directory, ready for scmrl train.")
@options.json
@options.plugin
def command(device: str, run: str | None, as_json: bool, **experiment: Any) -> None:
    """Build a model, run one random batch and print a summary.

    The summary has the components, parameters, operations and firing rates.
    """
    config = options.compose(experiment)
    from scmrl_plugins.core.model.assembly import assemble
    from scmrl_plugins.core.run.directory import check_free, create_run, load_pretrained
    from scmrl_plugins.core.system import devices

    target = devices.resolve(device)
    if run is not None:
        check_free(run)
    parts = assemble(config)
    origins = load_pretrained(parts)
    summary = _run_batch(parts, target)
    if run is not None:
        from scmrl_plugins.core.training.learner import learning

        learning(parts, target)  # which refuses what cannot be trained
        create_run(run, parts, origins)
    from scmrl_plugins.core.evaluation.contribution import warning
    from scmrl_plugins.core.measure import operations

    if as_json:
        output.document({**summary, "run": run})
        return
    _print(summary)
    for line in (
        operations.constant_logits(parts.model),
        warning(parts.model, summary["contribution"], trained=False),
    ):
        if line:
            click.echo(line)
    if run is not None:
        click.echo(f"run: {run} (train it with scmrl train {run})")


def _run_batch(parts: Assembly, target: torch.device) -> dict[str, Any]:
    """What one random batch through the model and the loss shows of it."""
    import torch

    from scmrl_plugins.core.evaluation import contribution
    from scmrl_plugins.core.measure import operations

    model = parts.model.to(target)
    inputs = operations.random_inputs(model, target)
    measured, result = operations.measure(model, inputs)
    crossing = contribution.crossing(model, inputs)
    parts.loss.to(target)(result, torch.zeros(len(result.logits), dtype=torch.long, device=target))
    return {
        "kinds": parts.config.kinds(),
        "parameters": measured.parameters,
        "device": str(target),
        "input_shapes": {name: list(inputs[name].shape) for name in model.modalities},
        "output_shape": list(result.logits.shape),
        "steps": parts.config.model.steps,
        "tokens": measured.tokens,
        "operations": measured.operations,
        "firing_rates": measured.firing_rates,
        "dead": measured.dead,
        "constant": measured.constant,
        "contribution": crossing,
    }


def _print(summary: Mapping[str, Any]) -> None:
    rates = summary["firing_rates"]
    output.table(
        "Model",
        [
            *output.kinds(summary["kinds"]),
            ("input", ", ".join(f"{name} {shape}" for name, shape in summary["input_shapes"].items())),
            ("output", str(summary["output_shape"])),
            ("time steps", str(summary["steps"])),
            ("tokens", ", ".join(f"{name} {n}" for name, n in summary["tokens"].items())),
            ("parameters", f"{summary['parameters']:,}"),
            ("operations", f"{summary['operations'] / 1e6:,.1f} million multiply-accumulates per sample"),
            ("device", summary["device"]),
        ],
    )
    output.table(
        f"Firing rates on one random batch (mean {sum(rates.values()) / max(1, len(rates)):.3f})",
        [(name, f"{rate:.4f}") for name, rate in rates.items()],
        ("neuron layer", "spikes per step"),
    )
    if summary["dead"]:
        click.echo(f"{len(summary['dead'])} of {len(rates)} neuron layers did not fire on this batch.")
    if summary["constant"]:
        click.echo(f"{len(summary['constant'])} of {len(rates)} neuron layers fired the same for every sample.")

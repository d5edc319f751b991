from __future__ import annotations

from typing import Any

import click

from scmrl_plugins.cli.common import options, output


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
    from scmrl_plugins.core.measure import operations
    from scmrl_plugins.core.model.assembly import assemble
    from scmrl_plugins.core.system import devices

    place = devices.resolve(device)
    parts = assemble(config)
    model = parts.model.to(place)
    inputs = operations.random_inputs(model, place)
    measured, result = operations.measure(model, inputs)
    import torch

    parts.loss.to(place)(result, torch.zeros(len(result.logits), dtype=torch.long, device=place))
    if run is not None:
        from scmrl_plugins.core.run.directory import create_run

        create_run(run, parts)

    chosen = parts.config.kinds()
    summary = {
        "kinds": chosen,
        "parameters": measured.parameters,
        "device": str(place),
        "output_shape": list(result.logits.shape),
        "run": run,
        "steps": parts.config.model.steps,
        "tokens": measured.tokens,
        "operations": measured.operations,
        "firing_rates": measured.firing_rates,
        "dead": measured.dead,
    }
    if as_json:
        output.document(summary)
        return
    shapes = ", ".join(f"{name} {list(inputs[name].shape)}" for name in model.modalities)
    rates = measured.firing_rates.values()
    output.table(
        "Model",
        [
            *output.kinds(chosen),
            ("input", shapes),
            ("output", str(list(result.logits.shape))),
            ("time steps", str(parts.config.model.steps)),
            ("tokens", ", ".join(f"{name} {n}" for name, n in measured.tokens.items())),
            ("parameters", f"{measured.parameters:,}"),
            ("operations", f"{measured.operations / 1e6:,.1f} million multiply-accumulates a sample"),
            ("device", str(place)),
        ],
    )
    output.table(
        f"Firing rates on one random batch (mean {sum(rates) / max(1, len(rates)):.3f})",
        [(name, f"{rate:.4f}") for name, rate in measured.firing_rates.items()],
        ("neuron layer", "spikes a step"),
    )
    if measured.dead:
        click.echo(f"{len(measured.dead)} of {len(rates)} neuron layers did not fire on this batch.")
    if run is not None:
        click.echo(f"run: {run} (train it with scmrl train {run})")

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scmrl_plugins.cli import options
from scmrl_plugins.registry.errors import UserError


@click.command("train")
@click.argument("existing", metavar="[RUN]", required=False)
@options.experiment
@options.device
@click.option("-o", "--output", "run", metavar="RUN", help="Where the run goes; default runs/DATASET-FUSION-NNN.")
def command(existing: str | None, device: str, run: str | None, **experiment: Any) -> None:
    """Train a model and test it; with RUN, go on with a run that was built or interrupted."""
    if existing and (fixed := options.given(experiment)):
        raise UserError(
            f"{existing} keeps its own configuration: leave {', '.join(fixed)} out, or start a new run "
            f"with -c {existing}/config.toml"
        )
    if existing and run:
        raise UserError(f"-o {run}: the run {existing} is trained where it is; leave -o out")
    config = None if existing else options.compose(experiment)
    from scmrl_plugins.core import devices
    from scmrl_plugins.core.assembly import assemble
    from scmrl_plugins.core.run import create_run, next_directory, open_run

    place = devices.resolve(device)
    if existing:
        target = open_run(existing)
        parts = target.assemble()
    else:
        assert config is not None
        parts = assemble(config)
        stem = f"{config.dataset.name}-{config.fusion.name}".replace(":", "-")
        target = create_run(run or next_directory(Path("runs"), stem), parts)
    run_training(target, parts, place)


def run_training(target: Any, parts: Any, place: Any) -> Any:
    """Train with progress on standard error; say the result and where it is. Returns the test result."""
    from scmrl_plugins.core.progress import Progress
    from scmrl_plugins.core.training import train

    with Progress() as progress:
        result = train(target, parts, place, progress)
    protocol = parts.config.train.protocol
    click.echo(f"test accuracy {result.accuracy:.2%} of {result.n} samples ({protocol} protocol)")
    dead = [name for name, rate in result.firing_rates.items() if rate == 0]
    if dead:
        click.echo(f"warning: {len(dead)} neuron layers never fired: {', '.join(dead)}")
    click.echo(f"run: {target.path}")
    return result

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
@options.plugin
def command(existing: str | None, device: str, run: str | None, **experiment: Any) -> None:
    """Train a model and test it; with RUN, go on with a run that was built or interrupted."""
    if existing and (fixed := options.given(experiment)):
        raise UserError(
            f"{existing} keeps its own configuration: leave {', '.join(fixed)} out, or start a new run "
            f"with -c {existing}/config.toml"
        )
    if existing and run is not None:
        raise UserError(f"-o {run}: the run {existing} is trained where it is; leave -o out")
    config = None if existing else options.compose(experiment)
    from scmrl_plugins.core import devices
    from scmrl_plugins.core.assembly import assemble
    from scmrl_plugins.core.run import check_free, next_directory, open_run

    place = devices.resolve(device)
    if config is None:
        target = open_run(str(existing))
        fit(target.assemble(), place, target.path, target)
        return
    stem = f"{config.dataset.name}-{config.fusion.name}".replace(":", "-")
    path = check_free(next_directory(Path("runs"), stem) if run is None else run)
    fit(assemble(config), place, path)


def fit(parts: Any, place: Any, path: Path, run: Any = None) -> Any:
    """Train with progress on standard error, say the result and where it is, and return the run.

    A new run is made at ``path`` once the data and the recipe have proved usable.
    """
    from scmrl_plugins.core.measure import dead_layers
    from scmrl_plugins.core.progress import Progress
    from scmrl_plugins.core.run import create_run
    from scmrl_plugins.core.training import Training

    with Progress() as progress:
        training = Training(parts, place, progress)
        run = run or create_run(path, parts)
        try:
            result = training.fit(run)
        except KeyboardInterrupt:
            progress.line(f"go on with scmrl train {path}")
            raise
    protocol = parts.config.train.protocol
    click.echo(f"test accuracy {result.accuracy:.2%} of {result.n} samples ({protocol} protocol)")
    if dead := dead_layers(result.firing_rates):
        click.echo(f"warning: {len(dead)} neuron layers never fired: {', '.join(dead)}")
    click.echo(f"run: {path}")
    return run

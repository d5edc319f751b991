from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from scmrl_plugins.cli.common import options, output
from scmrl_plugins.registry.errors import UserError


@click.command("train")
@click.argument("existing", metavar="[RUN]", required=False)
@options.experiment
@options.device
@click.option(
    "-o", "--output", "run", metavar="RUN", show_default="runs/DATASET-FUSION-NNN", help="Run directory to create."
)
@click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    help="Number of processes on this machine: one per GPU, or sharing the CPU. Use torchrun on several machines.",
)
@click.option(
    "--auto-batch",
    is_flag=True,
    help="If a step does not fit in memory, split it into smaller batches and accumulate their gradients.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan with its estimated time and memory, and exit.")
@options.plugin
def command(
    existing: str | None,
    device: str,
    run: str | None,
    processes: int | None,
    auto_batch: bool,
    dry_run: bool,
    **experiment: Any,
) -> None:
    """Train a model and test it, or start or resume RUN.

    RUN is a run directory made by scmrl build -o, or one whose training was interrupted.
    """
    if existing and (fixed := options.given(experiment) + ["--auto-batch"] * auto_batch):
        raise UserError(
            f"{existing} keeps its own configuration: leave {', '.join(fixed)} out, or start a new run "
            f"with -c {existing}/config.toml"
        )
    if existing and run is not None:
        raise UserError(f"-o {run}: the run {existing} is trained where it is; leave -o out")
    config = None if existing else options.compose(experiment)
    from scmrl_plugins.core.parallel import launch

    among = launch.count()
    if processes is not None and among not in (1, processes):
        raise UserError(f"--processes {processes}: this is one of {among} already; leave --processes out")
    if processes is not None and among < processes and not dry_run:
        sys.exit(launch.Team(processes, sys.argv[1:]).wait())
    launch.watch_parent()
    from scmrl_plugins.core.model.assembly import assemble
    from scmrl_plugins.core.run.directory import check_free, next_directory, open_run
    from scmrl_plugins.core.system import devices

    place = devices.resolve(device)
    if config is None:
        target = open_run(str(existing))
        parts = target.assemble()
    else:
        target, parts = None, assemble(config)
    if auto_batch or dry_run:
        from scmrl_plugins.core.system.progress import Progress
        from scmrl_plugins.core.training import plan

        together = processes or among
        if auto_batch:
            parts = plan.fitting(parts, place, together, Progress() if launch.first() else Progress.silent())
        if dry_run:
            output.table("Plan", plan.make(parts, place, together))
            return
    if target:
        fit(parts, place, target.path, target)
        return
    stem = f"{parts.config.dataset.name}-{parts.config.fusion.name}".replace(":", "-")
    path = next_directory(Path("runs"), stem) if run is None else Path(run)
    fit(parts, place, check_free(path) if launch.first() else path)


def fit(parts: Any, place: Any, path: Path, run: Any = None) -> Any:
    """Train with progress on standard error, say the result and where it is, and return the run.

    A new run is made at ``path`` once the data and the recipe have proved usable. Of several processes, the main
    one makes it, and speaks.
    """
    from scmrl_plugins.core.measure.firing import dead_layers
    from scmrl_plugins.core.run.directory import create_run, open_run
    from scmrl_plugins.core.system.progress import Progress
    from scmrl_plugins.core.training.loop import Training
    from scmrl_plugins.explain import report

    with Progress() as progress:
        training = Training(parts, place, progress)
        training.prepare()
        main = training.processes.main
        if run is None:
            path = training.processes.told(create_run(path, parts).path if main else path)
            run = open_run(path)
        try:
            result = training.fit(run)
        except KeyboardInterrupt:
            training.progress.line(f"go on with scmrl train {path}")
            raise
    if not main:
        return run
    report.write(run)
    protocol = parts.config.train.protocol
    click.echo(f"test accuracy {result.metrics['accuracy']:.2%} of {result.n} samples ({protocol} protocol)")
    if dead := dead_layers(result.firing_rates):
        click.echo(f"warning: {len(dead)} neuron layers never fired: {', '.join(dead)}")
    click.echo(f"run: {path}")
    return run

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scmrl_plugins.cli.common import completion, options, output
from scmrl_plugins.core.system import collector
from scmrl_plugins.registry.errors import UserError

if TYPE_CHECKING:
    import torch

    from scmrl_plugins.core.model.assembly import Assembly
    from scmrl_plugins.core.run.directory import Run


@click.command("train")
@click.argument("existing", metavar="[RUN]", required=False, shell_complete=completion.runs)
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
@options.predictions
@click.option("--dry-run", is_flag=True, help="Print the plan with its estimated time and memory, and exit.")
@options.plugin
def command(
    existing: str | None,
    device: str,
    run: str | None,
    processes: int | None,
    auto_batch: bool,
    predictions: Path | None,
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
        raise UserError(f"-o {run}: the run {existing} is trained in place; leave -o out")
    config = None if existing else options.compose(experiment)
    count = _join(processes, dry_run)
    with collector.paused():
        from scmrl_plugins.cli.common.training import fit
        from scmrl_plugins.core.model.assembly import assemble
        from scmrl_plugins.core.system import devices

    target = devices.resolve(device)
    if config is None:
        resumed = _local(str(existing))
        parts = resumed.assemble()
    else:
        resumed, parts = None, assemble(config)
    if auto_batch or dry_run:
        parts = _planned(parts, target, count, auto_batch, dry_run)
    if not dry_run:
        fit(parts, target, resumed.path if resumed else _path(run, parts), resumed, predictions)


def _local(path: str) -> Run:
    """The run to resume; ``UserError`` for one on the Hub, which is not written to."""
    from scmrl_plugins.core.run import directory, hub

    if hub.is_remote(path):
        raise UserError(f"{path}: a run on the Hub is not trained; start from it with train.pretrained")
    return directory.open_run(path)


def _join(processes: int | None, dry_run: bool) -> int:
    """Start ``--processes`` and exit with their code, or join those that were started; their number."""
    from scmrl_plugins.core.parallel import launch

    count = launch.count()
    if processes is not None and count not in (1, processes):
        raise UserError(f"--processes {processes}: this process is already one of {count}; leave --processes out")
    if processes is not None and count < processes and not dry_run:
        sys.exit(launch.Team(processes, click.get_current_context().find_root().obj).wait())
    launch.watch_parent()
    return processes or count


def _planned(parts: Assembly, device: torch.device, processes: int, auto_batch: bool, dry_run: bool) -> Assembly:
    """The experiment, with smaller batches if requested and necessary; prints the plan of a dry run."""
    from scmrl_plugins.core.parallel import launch
    from scmrl_plugins.core.system.progress import Progress
    from scmrl_plugins.core.training import plan

    if auto_batch:
        parts = plan.fit_memory(parts, device, processes, Progress() if launch.first() else Progress.silent())
    if dry_run:
        output.table("Plan", plan.describe(parts, device, processes))
    return parts


def _path(run: str | None, parts: Assembly) -> Path:
    """Where a new run goes; the main process raises ``UserError`` if something exists there."""
    from scmrl_plugins.core.parallel import launch
    from scmrl_plugins.core.run.directory import check_free, next_directory

    stem = f"{parts.config.dataset.name}-{parts.config.fusion.name}".replace(":", "-")
    path = next_directory(Path("runs"), stem) if run is None else Path(run)
    return check_free(path) if launch.first() else path

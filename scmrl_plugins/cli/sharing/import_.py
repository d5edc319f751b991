from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scmrl_plugins.cli.common import completion, options, output

if TYPE_CHECKING:
    from scmrl_plugins.core.run.directory import Run


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path), shell_complete=completion.files)
@options.experiment
@click.option(
    "-o", "--output", "path", metavar="RUN", required=True, type=click.Path(path_type=Path), help="Run to create."
)
@click.option("--no-test", is_flag=True, help="Do not evaluate the run on the test split.")
@click.option("--partial", is_flag=True, help="Take the weights that fit; the others keep their initial values.")
@options.json
@options.plugin
def command(file: Path, path: Path, partial: bool, no_test: bool, as_json: bool, **experiment: Any) -> None:
    """Make a run of the weights in FILE and of a configuration.

    FILE is a checkpoint of torch (.pt, .pth, .pth.tar) or safetensors, with the names of this project or those of
    the published S-CMRL code. The weights may be inside of it, as under state_dict, and their names may begin with
    module., _orig_mod. or model., which are taken off. Tensors that are missing, unused or of another shape are
    named. Nothing in FILE is run as code. The run is evaluated on the test split if the data is here, as scmrl
    explain needs it.
    """
    config = options.compose(experiment)
    from scmrl_plugins.core.run.importing import import_run

    run, fit, checkpoint = import_run(file, config, path, partial=partial)
    accuracy = None if no_test else _test(run)
    if as_json:
        found = {"container": checkpoint.container, "stripped": checkpoint.stripped}
        output.document(
            {
                "run": str(run.path),
                "complete": fit.complete,
                **dataclasses.asdict(fit),
                **found,
                "test_accuracy": accuracy,
            }
        )
        return
    for what, names in (
        ("missing, left at initial values", fit.missing),
        ("unused", fit.unused),
        ("of another shape, left at initial values", fit.misshapen),
        ("not used by the published code either", fit.ignored),
    ):
        if names:
            output.table(f"{len(names)} {what}", [(name,) for name in names])
    where = f" under {checkpoint.container}" if checkpoint.container else ""
    off = f", without the prefixes {', '.join(checkpoint.stripped)}" if checkpoint.stripped else ""
    kind = f", converted from {', '.join(fit.converted)}" if fit.converted else ""
    click.echo(f"{len(fit.loaded)} tensors{where} with {fit.names} names{off}{kind}")
    if accuracy is not None:
        click.echo(f"test accuracy {accuracy:.2%}")
    click.echo(f"run: {run.path} (evaluate it with scmrl eval {run.path})")


def _test(run: Run) -> float | None:
    """Evaluate the run on the test split, and write the result to its metrics; none where the data is not here."""
    import torch

    from scmrl_plugins.core.data.loading import evaluation_loader
    from scmrl_plugins.core.data.prepare import prepare
    from scmrl_plugins.core.evaluation.evaluate import evaluate
    from scmrl_plugins.core.run.weights import TrainingState
    from scmrl_plugins.core.system.progress import Progress
    from scmrl_plugins.core.training.lines import test_line
    from scmrl_plugins.registry import UserError
    from scmrl_plugins.registry.errors import printable

    parts = run.assemble()
    try:
        with Progress() as progress:
            data = prepare(parts.dataset, parts.config, ["test"], progress=progress)
    except UserError as error:
        click.echo(f"note: not evaluated, as the data is not here: {printable(str(error))}", err=True)
        return None
    loader = evaluation_loader(data.splits["test"], parts.config)
    result = evaluate(parts.model, parts.loss, loader, torch.device("cpu"), blanked=True)
    run.add_metrics(test_line(TrainingState(), parts.config.train.protocol, len(data.bad), result))
    return float(result.metrics["accuracy"])

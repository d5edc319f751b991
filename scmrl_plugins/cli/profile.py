from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scmrl_plugins.cli.common import completion, options, output
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import torch

    from scmrl_plugins.core.evaluation.profile import Profile
    from scmrl_plugins.core.model.assembly import Assembly


@click.command("profile")
@click.argument("run", metavar="RUN", shell_complete=completion.runs)
@click.option(
    "--split", type=click.Choice(["train", "validation", "test"]), default="test", help="Split to count on."
)
@click.option(
    "--against",
    multiple=True,
    metavar="RUN",
    shell_complete=completion.runs,
    help="Run without spikes to compare with, such as one trained alike with --neuron relu; repeatable.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    show_default="train.batch_size of the run",
    help="Samples that are counted together; the result is the same for any number.",
)
@click.option("-o", "--output", "file", type=options.output_file, metavar="FILE", help="JSON file to write to.")
@options.device
@options.json
@options.plugin
def command(
    run: str,
    split: str,
    against: tuple[str, ...],
    batch_size: int | None,
    file: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Count operations, memory accesses and energy of a run.

    Means over all samples of the split: parameters, sparsity, multiply-accumulates and accumulates by connection,
    membrane updates, and the energy by several models. Says under which of them an ANN or a quantised network is
    cheaper: the runs --against, or the dense operations of the same architecture in one step, which are a bound.
    """
    from scmrl_plugins.core.evaluation.profile import bounds, verdicts
    from scmrl_plugins.core.system import devices, files

    target = devices.resolve(device)
    parts, twins = _opened(run, against)
    found = _profiled(run, parts, split, batch_size, target)
    measured = [_profiled(name, other, split, batch_size, target) for name, other in twins.items()]
    _check_samples(found, measured)
    missing = [bound for bound in bounds(parts) if bound.kind not in {one.kind for one in measured}]
    lines = verdicts(found, [*measured, *missing])
    against_it = [{"run": one.name, **one.as_dict()} for one in measured]
    document = {"run": run, "split": split, **found.as_dict(), "against": against_it}
    document |= {"bounds": [one.as_dict() for one in missing], "verdicts": lines, "layers": found.by_layer()}
    if file:
        files.write_json(file, document)
    if as_json:
        output.document(document)
        return
    _print(f"{run}: {split} split", found, [*measured, *missing], lines)


def _opened(run: str, against: tuple[str, ...]) -> tuple[Assembly, dict[str, Assembly]]:
    """The parts of the run and of those that it is compared with, which need the same data set."""
    from scmrl_plugins.core.run.directory import open_run

    parts = open_run(run).assemble()
    twins = {name: open_run(name).assemble() for name in against}
    for name, other in twins.items():
        one, another = parts.config.dataset.name, other.config.dataset.name
        if one != another:
            raise UserError(
                f"--against {name}: its data set is {another!r}, that of {run} is {one!r}: name a twin"
            )
    return parts, twins


def _check_samples(found: Profile, measured: list[Profile]) -> None:
    """``UserError`` where a network has seen other samples."""
    for one in measured:
        if one.n != found.n:
            raise UserError(f"--against {one.name}: its split has {one.n} samples, that of {found.name} {found.n}")


def _profiled(name: str, parts: Assembly, split: str, batch_size: int | None, device: torch.device) -> Profile:
    """The profile of a run on a split, with progress on standard error."""
    from dataclasses import replace

    from scmrl_plugins.core.data.loading import evaluation_loader
    from scmrl_plugins.core.data.prepare import prepare
    from scmrl_plugins.core.evaluation.profile import profile
    from scmrl_plugins.core.system.progress import Progress

    with Progress() as progress:
        data = prepare(parts.dataset, parts.config, [split], progress=progress)
        loader = evaluation_loader(data.splits[split], parts.config, batch_size=batch_size)
        progress.stage(f"profile of {name}", len(loader))
        return replace(profile(parts.model.to(device), loader, device, progress), name=name)


HEADER = ("layer", "parameters", "spike rate", "dense", "effective", "MACs", "ACs", "arithmetic", "with memory")


def _print(title: str, found: Profile, others: list[Profile], lines: dict[str, str]) -> None:
    """The layers that compute, all others in a row, the total, and the networks it is compared with."""
    from scmrl_plugins.core.evaluation.profile import KINDS
    from scmrl_plugins.core.measure.counting import total

    shown = [layer for layer in found.layers if layer.dense or layer.activations]
    rest = [layer for layer in found.layers if layer not in shown]
    rows = [_row(layer.name, layer, found.bits) for layer in shown]
    rows += [_row("others", total(rest), found.bits), _row("total", found.total, found.bits)]
    output.table(f"{title}, {found.n:,} samples; costs of one", rows, HEADER)
    summary = [(KINDS[found.kind], *_facts(found))]
    summary += [(one.described, *_facts(one)) for one in others]
    columns = ("network", "accuracy", "steps", "footprint, bytes", "weights zero", "activations zero")
    header = (*columns, "membrane updates", "attention", "arithmetic", "in 8 bits", "with memory")
    output.table("Networks", summary, header)
    for model, line in lines.items():
        click.echo(f"{model}: {line}")


def _row(name: str, layer: Any, bits: int) -> tuple[str, ...]:
    from scmrl_plugins.core.evaluation.profile import joules
    from scmrl_plugins.core.measure.energy import energies

    spent = energies(layer, bits)
    rate = "" if layer.activation_sparsity is None else f"{1 - layer.activation_sparsity:.3f}"
    counts = [f"{value:,.0f}" for value in (layer.dense, layer.effective, layer.macs, layer.acs)]
    return (name, f"{layer.parameters:,}", rate, *counts, joules(spent["arithmetic"]), joules(spent["lemaire"]))


def _facts(found: Profile) -> tuple[str, ...]:
    from scmrl_plugins.core.evaluation.profile import joules

    one = found.total
    shares = [
        "" if x is None else f"{x:.1%}" for x in (found.accuracy, one.connection_sparsity, one.activation_sparsity)
    ]
    accuracy, weights, activations = shares
    costs = [f"{one.footprint:,}", weights, "" if found.bound else activations]
    counts = [f"{one.membrane_updates:,.0f}", f"{one.attention:,.0f}"]
    return (accuracy, str(found.steps), *costs, *counts, *map(joules, found.energy.values()))

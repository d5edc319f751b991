from __future__ import annotations

import os
from collections.abc import Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scmrl_plugins.cli.common import completion, options, output

if TYPE_CHECKING:
    from scmrl_plugins.core.model.assembly import Assembly

SAMPLES = 32
"""Samples of the test split that the energy is estimated on."""


@click.command("push")
@click.argument("run", metavar="RUN", shell_complete=completion.runs)
@click.argument("repository", metavar="REPO")
@click.option("--private", is_flag=True, help="Make the repository private if it is new.")
@click.option("--license", metavar="NAME", help="Licence of the weights, as the Hub names it, such as apache-2.0.")
@options.json
@options.plugin
def command(run: str, repository: str, private: bool, license: str | None, as_json: bool) -> None:
    """Upload RUN to REPO on the Hugging Face Hub, with a model card.

    REPO is USER/NAME, where USER is logged in (hf auth login, or HF_TOKEN); hf://USER/NAME is then a RUN. If REPO
    begins with ./ or /, the same files are written to that folder. The card has data, protocol, results with
    intervals, energy, the contribution of each modality and limits. Checkpoints are not uploaded.
    """
    os.environ.setdefault("SCMRL_COMPILE", "never")
    from scmrl_plugins.core.run import hub
    from scmrl_plugins.core.run.directory import open_run
    from scmrl_plugins.core.system import files

    folder = Path(repository).expanduser() if repository.startswith(("./", "../", "/", "~")) else None
    name, revision = ("", None) if folder else hub.repository(repository)
    parts = open_run(run).assemble()
    model = parts.model.eval()
    card: dict[str, Any] = {"repository": name or None, "license": license, **_measured(parts)}
    if folder:
        with files.saved(folder):
            model.save_pretrained(folder, model_card_kwargs=card)
        where, found = str(folder), str(folder)
    else:
        with hub.explained(f"{hub.SCHEME}{name}"):
            where = str(model.push_to_hub(name, private=private, branch=revision, model_card_kwargs=card))
        found = f"{hub.SCHEME}{name}"
    if as_json:
        output.document({"run": found, "address": where})
        return
    click.echo(where)
    click.echo(f"run: {found} (evaluate it with scmrl eval {found})")


def _measured(parts: Assembly) -> dict[str, Any]:
    """The energy on some samples of the test split and the digests of the data; without it, on random inputs."""
    import torch

    from scmrl_plugins.core.data.loading import EvaluationData, Loader
    from scmrl_plugins.core.evaluation.samples import samples_of_test
    from scmrl_plugins.core.measure import counting, energy, operations
    from scmrl_plugins.core.system.progress import Progress
    from scmrl_plugins.registry import UserError

    model = parts.model
    try:
        with Progress() as progress:
            split, _ = samples_of_test(parts, SAMPLES, progress, SAMPLES)
        [batch] = Loader(EvaluationData(split), parts.config, [range(len(split))])
        inputs, samples = batch, f"mean of {len(split)} test samples"
        rows = parts.dataset.splits()
        digests = {name: _digest(one) for name, one in rows.items() if isinstance(one, Sized)}  # no stream
    except UserError:
        inputs, samples = operations.random_inputs(model, torch.device("cpu")), "random inputs"
        digests = {}
    found = counting.total(counting.count_batches(model, [{one: inputs[one] for one in model.modalities}]))
    figures = {
        "joules": energy.arithmetic(found),
        "multiply_accumulates": found.macs,
        "accumulates": found.acs,
        "samples": samples,
    }
    return {"energy": figures, "digests": digests}


def _digest(rows: Any) -> str:
    """SHA-256 of the ids and labels of a split, a line for each sample."""
    import hashlib

    lines = [f"{name}\t{label}\n" for name, label in zip(rows["id"], rows["label"], strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()

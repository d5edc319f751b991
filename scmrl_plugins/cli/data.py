from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scmrl_plugins.cli.common import options, output
from scmrl_plugins.registry import Entry, UserError, catalogue

if TYPE_CHECKING:
    from scmrl_plugins.core.config.sections import ExperimentConfig
    from scmrl_plugins.core.interfaces import Dataset

LISTED = 200
"""Bad files that are shown to people; --json has all of them."""

workers = click.option(
    "--workers", type=click.IntRange(0, 256), metavar="N", help="Processes that decode; default train.workers."
)


@click.group("data")
def command() -> None:
    """Look at data sets, check their files, and compute their features ahead of training."""


@command.command("list")
@options.json
@options.plugin
def list_(as_json: bool) -> None:
    """Every data set: what it is, whether it reads a folder of yours, and its classes if they are fixed."""
    known = [_describe(entry) for entry in catalogue().entries if entry.kind == "dataset"]
    if as_json:
        output.document({"datasets": known})
        return
    for told in known:
        click.echo(f"{told['name']:<20} {told['summary']}  [{told['plugin']}]")
        click.echo(f"{'':<20} {told['error'] or _in_short(told)}")


def _describe(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": entry.name if entry.plugin.builtin else entry.qualified,
        "summary": entry.summary,
        "plugin": entry.plugin.name,
        "root": None,
        "classes": None,
        "error": None,
    }
    try:
        cls = entry.load()
        told["root"] = "root" in cls.Config.model_fields
        told["classes"] = _classes_without_files(cls)
    except UserError as error:
        told["error"] = str(error)
    return told


def _classes_without_files(cls: Any) -> list[str] | None:
    """The names of the classes, or none where only the files, or settings without a default, tell them."""
    from pydantic import ValidationError

    from scmrl_plugins.core.interfaces import ModelConfig

    try:
        dataset = cls(cls.Config(), ModelConfig(**getattr(cls, "defaults", {}).get("model", {})))
    except ValidationError:
        return None
    return [str(name) for name in dataset.classes] or None


def _in_short(told: dict[str, Any]) -> str:
    names = told["classes"]
    classes = f"{len(names)} classes: {', '.join(names)}" if names else "classes as in its files"
    return f"--root DIR; {classes}" if told["root"] else classes


@command.command("prepare")
@options.dataset
@workers
@options.json
@options.plugin
def prepare(workers: int | None, as_json: bool, **chosen: Any) -> None:
    """Compute and store the features of all splits of NAME, which training does by itself.

    What is stored already is kept: after an interruption, the same command goes on. A file that cannot be used
    stops it, or, with --set data.on_bad=skip, is left out.
    """
    from scmrl_plugins.core.data import prepare
    from scmrl_plugins.core.system.progress import Progress

    dataset, config = _build(chosen)
    with Progress() as progress:
        prepared = prepare.prepare(dataset, config, progress=progress, workers=workers)
    if as_json:
        output.document(
            {
                "splits": {
                    split: {
                        "samples": counts.before + counts.computed,
                        "before": counts.before,
                        "computed": counts.computed,
                        "skipped": counts.skipped,
                        "bytes": counts.size,
                        "folder": str(counts.folder),
                    }
                    for split, counts in prepared.counts.items()
                },
                "bad": [{"path": path, "reason": reason} for path, reason in prepared.bad],
            }
        )
        return
    rows = [
        (
            split,
            f"{counts.before + counts.computed:,}",
            f"{counts.before:,}",
            f"{counts.computed:,}",
            f"{counts.skipped:,}",
            f"{counts.size / 2**20:,.1f} MiB",
        )
        for split, counts in prepared.counts.items()
    ]
    output.table(
        f"Features of {config.dataset.name}",
        rows,
        ("split", "samples", "stored before", "computed now", "skipped", "size"),
    )
    for folder in dict.fromkeys(counts.folder for counts in prepared.counts.values()):
        click.echo(f"stored in {folder}")
    if prepared.bad:
        name = config.dataset.name
        click.echo(
            f"{len(prepared.bad)} bad files are left out; scmrl data check {name} says what is wrong with them"
        )


@command.command("check")
@options.dataset
@workers
@options.json
@options.plugin
def check(workers: int | None, as_json: bool, **chosen: Any) -> None:
    """Read every file of NAME, list those that cannot be used, and why; exit with 1 if there are any.

    Nothing is trained or stored, and what is stored is not trusted. Files that are mended as they are read, such
    as those of another sample rate, are listed apart. A split without a good sample exits with 1 too. In the JSON
    document, n is the number of samples looked at.
    """
    from scmrl_plugins.core.data import check
    from scmrl_plugins.core.system.progress import Progress

    dataset, config = _build(chosen)
    with Progress() as progress:
        found = check.check(dataset, config, progress, config.train.workers if workers is None else workers)
    n = sum(found.samples.values())
    if as_json:
        output.document(
            {
                "n": n,
                "bad": [{"path": path, "reason": reason} for path, reason in found.bad],
                "handled": [{"path": path, "what": what} for path, what in found.handled],
                "splits": {
                    split: {"samples": count, "good": found.good[split]} for split, count in found.samples.items()
                },
            }
        )
    else:
        if found.bad:
            output.table(f"{len(found.bad)} bad files", found.bad[:LISTED], ("path", "reason"))
        if len(found.bad) > LISTED:
            click.echo(f"and {len(found.bad) - LISTED} more: --json lists all")
        if found.handled:
            output.table("Mended as they are read", _grouped(found.handled), ("files", "what", "such as"))
        rows = [
            (split, f"{count:,}", f"{found.good[split]:,}", f"{count - found.good[split]:,}")
            for split, count in found.samples.items()
        ]
        output.table(f"{n:,} samples of {config.dataset.name}", rows, ("split", "samples", "good", "bad"))
        for split in found.empty:
            click.echo(f"no sample of the {split} split can be used")
    if found.bad or found.empty:
        click.get_current_context().exit(1)


def _grouped(told: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """How many files each thing was done to, the most frequent first, with one of them."""
    example = {what: path for path, what in reversed(told)}
    counted = Counter(what for _, what in told).most_common()
    return [(f"{count:,}", what, example[what]) for what, count in counted]


@command.command("show")
@options.dataset
@click.option(
    "-o",
    "--output",
    "out",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The picture, .png, .pdf or .svg.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="train",
    show_default=True,
    help="Where the samples are taken from.",
)
@click.option("--count", type=click.IntRange(1, 24), default=6, show_default=True, help="Samples to draw.")
@options.plugin
def show(out: Path, split: str, count: int, **chosen: Any) -> None:
    """Draw samples of NAME as the model gets them, and how many there are of each class.

    Spectrograms and frames or events, as in evaluation and as one epoch of training draws them; --set train.seed=N
    chooses others.
    """
    from scmrl_plugins.core.data import picture
    from scmrl_plugins.core.system.progress import Progress

    picture.check_name(out)
    dataset, config = _build(chosen)
    with Progress() as progress:
        skipped = picture.show(dataset, config, split, count, out, progress)
    for path, reason in skipped:
        click.echo(f"left out: {path}: {reason}", err=True)
    click.echo(f"picture: {out}")


def _build(chosen: dict[str, Any]) -> tuple[Dataset, ExperimentConfig]:
    config = options.compose_dataset(**chosen)
    from scmrl_plugins.core.model.assembly import build_dataset

    return build_dataset(config)

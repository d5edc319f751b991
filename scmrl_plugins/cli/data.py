from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scmrl_plugins.cli.common import options, output
from scmrl_plugins.registry import Entry, UserError, catalogue

if TYPE_CHECKING:
    from scmrl_plugins.core.config.sections import ExperimentConfig
    from scmrl_plugins.core.data.prepare import Estimate, Prepared
    from scmrl_plugins.core.interfaces import Dataset

CLIPS = "av-folder"
"""The data set whose reader describes the clips of a folder."""
MANY = 500
"""Samples from which on the time and space that they take are estimated."""
LISTED = 200
"""Maximum number of unusable files in a table; --json lists all."""

workers = click.option(
    "--workers",
    type=click.IntRange(0, 256),
    metavar="N",
    show_default="train.workers",
    help="Number of decoding processes.",
)


@click.group("data")
def command() -> None:
    """List, check, prepare and plot data sets; free the cache."""


@command.command("list")
@options.json
@options.plugin
def list_(as_json: bool) -> None:
    """List data sets with their sources and classes.

    A data set marked with --root DIR reads its files from a directory.
    """
    described = [_describe(entry) for entry in catalogue().entries if entry.kind == "dataset"]
    if as_json:
        output.document({"datasets": described})
        return
    for description in described:
        click.echo(f"{description['name']:<20} {description['summary']}  [{description['plugin']}]")
        click.echo(f"{'':<20} {description['error'] or _in_short(description)}")


def _describe(entry: Entry) -> dict[str, Any]:
    description: dict[str, Any] = {
        "name": entry.name if entry.plugin.builtin else entry.qualified,
        "summary": entry.summary,
        "plugin": entry.plugin.name,
        "root": None,
        "classes": None,
        "error": None,
    }
    try:
        cls = entry.load()
        description["root"] = "root" in cls.Config.model_fields
        description["classes"] = _classes_without_files(cls)
    except UserError as error:
        description["error"] = str(error)
    return description


def _classes_without_files(cls: Any) -> list[str] | None:
    """The names of the classes, or ``None`` if they depend on files or on settings without a default."""
    from pydantic import ValidationError

    from scmrl_plugins.core.interfaces import ModelConfig

    try:
        dataset = cls(cls.Config(), ModelConfig(**cls.defaults.get("model", {})))
    except ValidationError:
        return None
    return [str(name) for name in dataset.classes] or None


def _in_short(description: dict[str, Any]) -> str:
    names = description["classes"]
    classes = f"{len(names)} classes: {', '.join(names)}" if names else "classes as in its files"
    return f"--root DIR; {classes}" if description["root"] else classes


@command.command("prepare")
@options.dataset
@workers
@click.option("--estimate", "only_estimate", is_flag=True, help="Print the time and space it takes, and stop.")
@click.option(
    "--left-out",
    metavar="FILE",
    type=options.output_file,
    help="CSV file for the unusable files and the reasons.",
)
@options.json
@options.plugin
def prepare(workers: int | None, only_estimate: bool, left_out: Path | None, as_json: bool, **chosen: Any) -> None:
    """Compute and store the features of data set NAME.

    Training does this automatically. Stored features are kept: after an interruption, the same command resumes.
    An unusable file stops the command; with --set data.on_bad=skip, it is left out. Time and space are estimated
    from a few samples beforehand.
    """
    from scmrl_plugins.core.data import prepare
    from scmrl_plugins.core.system import files
    from scmrl_plugins.core.system.progress import Progress

    dataset, config = _build(chosen)
    rows = dataset.splits()
    workers = config.train.workers if workers is None else workers
    needed = prepare.estimate(dataset, config, rows, workers, least=0 if only_estimate else MANY)
    if only_estimate:
        _report_estimate(needed, as_json)
        return
    if needed:
        needed.refuse_too_large()
        click.echo(str(needed), err=True)
    with Progress() as progress:
        prepared = prepare.prepare(dataset, config, progress=progress, workers=workers, rows=rows)
    if left_out:
        files.write_text(left_out, _csv(("path", "reason"), prepared.bad))
    _report_prepared(prepared, config.dataset.name, as_json)


def _report_estimate(needed: Estimate | None, as_json: bool) -> None:
    if as_json:
        fields: dict[str, Any] = {"samples": None, "seconds": None, "bytes": None, "free": None, "folder": None}
        if needed:
            fields = {
                "samples": needed.samples,
                "seconds": needed.seconds,
                "bytes": needed.size,
                "free": needed.free,
                "folder": str(needed.folder),
            }
        output.document(fields)
    else:
        click.echo(str(needed) if needed else "the number of samples of a stream is not known")


def _report_prepared(prepared: Prepared, name: str, as_json: bool) -> None:
    from scmrl_plugins.core.system.memory import format_bytes

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
            format_bytes(counts.size),
        )
        for split, counts in prepared.counts.items()
    ]
    output.table(
        f"Features of {name}",
        rows,
        ("split", "samples", "stored before", "computed now", "skipped", "size"),
    )
    for folder in dict.fromkeys(counts.folder for counts in prepared.counts.values()):
        click.echo(f"stored in {folder}")
    if prepared.bad:
        output.table(f"{len(prepared.bad)} bad files were left out", prepared.bad[:LISTED], ("path", "reason"))
    if len(prepared.bad) > LISTED:
        click.echo(f"and {len(prepared.bad) - LISTED} more: --left-out FILE or --json lists all")


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


@command.command("import-video")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "table",
    metavar="TABLE",
    required=True,
    type=options.output_file,
    help="Table to write: .csv or .parquet.",
)
@click.option(
    "--workers", type=click.IntRange(0, 256), metavar="N", default=0, help="Number of decoding processes."
)
@options.json
@options.plugin
def import_video(folder: Path, table: Path, workers: int, as_json: bool) -> None:
    """Write a table of the video clips in DIR.

    It is a manifest for av-folder (dataset.manifest) or hub (dataset.path).

    A row names a clip, the folder that it is in (label), that folder's split if there is one, duration, rates,
    size, and what is wrong with it (fault). Every clip is decoded.
    """
    from scmrl_plugins.core.data import clips
    from scmrl_plugins.core.system.progress import Progress

    with Progress() as progress:
        imported = clips.import_video(catalogue().get("dataset", CLIPS), folder, table, progress, workers)
    if as_json:
        faulty = [{"path": path, "reason": reason} for path, reason in imported.faulty]
        output.document({"n": len(imported.rows), "table": str(table), "bad": faulty})
        return
    if imported.faulty:
        output.table(f"{len(imported.faulty)} clips have faults", imported.faulty[:LISTED], ("path", "fault"))
    click.echo(f"{len(imported.rows):,} clips: {table}")
    if imported.unlabelled:
        click.echo(f"{imported.unlabelled:,} are in no class's folder: fill the column label")


@command.command("cache")
@click.option("--prune", is_flag=True, help="Remove what was not used for --days.")
@click.option(
    "--days", type=click.FloatRange(0), default=30.0, help="Days without use after which stored data are unused."
)
@options.json
def cache(prune: bool, days: float, as_json: bool) -> None:
    """Show or free the stored features and tokens.

    They are in SCMRL_CACHE, or in ~/.cache/scmrl, and are computed again where they are missing.
    """
    from scmrl_plugins.core.data import cache
    from scmrl_plugins.core.interfaces import cache_dir
    from scmrl_plugins.core.system.memory import format_bytes

    freed = cache.prune(days) if prune else 0
    folders = cache.held(days)
    if as_json:
        described = [
            {
                "kind": folder.kind,
                "dataset": folder.dataset,
                "folder": str(folder.path),
                "bytes": folder.size,
                "unused": folder.unused,
                "used": datetime.fromtimestamp(folder.used, UTC).isoformat(timespec="seconds"),
            }
            for folder in folders
        ]
        output.document({"folders": described, "freed": freed})
        return
    rows = [
        (
            folder.kind,
            folder.dataset,
            format_bytes(folder.size),
            format_bytes(folder.unused),
            f"{datetime.fromtimestamp(folder.used):%Y-%m-%d}",
        )
        for folder in folders
    ]
    output.table(f"Stored in {cache_dir()}", rows, ("kind", "data set", "size", "unused", "last used"))
    unused = sum(folder.unused for folder in folders)
    click.echo(
        f"freed {format_bytes(freed)}"
        if prune
        else f"{format_bytes(unused)} were not used for {days:g} days; --prune frees them"
    )


@command.command("check")
@options.dataset
@workers
@options.json
@options.plugin
def check(workers: int | None, as_json: bool, **chosen: Any) -> None:
    """Read every file of data set NAME and list unusable files.

    Exits with 1 if a file is unusable or a split has no usable sample. Reads the files even if their features
    are stored, and stores nothing. Files that are converted on reading, for example resampled, are listed
    separately, and so is what looks wrong in files that can be used: a still picture, black frames, sound and
    picture of different length, a length far from the usual one. In the JSON document, n is the number of samples
    checked.
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
                "handled": [{"path": path, "what": what} for path, what in found.repaired],
                "warnings": [{"path": path, "what": what} for path, what in found.warnings],
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
        if found.repaired:
            output.table("Converted on reading", _grouped(found.repaired), ("files", "conversion", "example"))
        if found.warnings:
            output.table(f"{len(found.warnings)} warnings", found.warnings[:LISTED], ("path", "what looks wrong"))
        if len(found.warnings) > LISTED:
            click.echo(f"and {len(found.warnings) - LISTED} more: --json lists all")
        rows = [
            (split, f"{count:,}", f"{found.good[split]:,}", f"{count - found.good[split]:,}")
            for split, count in found.samples.items()
        ]
        output.table(f"{n:,} samples of {config.dataset.name}", rows, ("split", "samples", "good", "bad"))
        for split in found.empty:
            click.echo(f"the {split} split has no usable sample")
        if found.lacking:
            click.echo(found.lacking)
    if found.bad or found.empty:
        click.get_current_context().exit(1)


def _grouped(conversions: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """The number of files of each conversion, most frequent first, and an example file."""
    example = {what: path for path, what in reversed(conversions)}
    counted = Counter(what for _, what in conversions).most_common()
    return [(f"{count:,}", what, example[what]) for what, count in counted]


@command.command("show")
@options.dataset
@click.option(
    "-o",
    "--output",
    "out",
    metavar="FILE",
    required=True,
    type=options.output_file,
    help="Image file to write: .png, .pdf or .svg.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="train",
    help="Split to take the samples from.",
)
@click.option("--count", type=click.IntRange(1, 24), default=6, help="Number of samples to plot.")
@options.plugin
def show(out: Path, split: str, count: int, **chosen: Any) -> None:
    """Plot model inputs and class counts of data set NAME.

    Shows spectrograms and frames or events, as in evaluation and with the augmentation of one training epoch.
    --set train.seed=N selects other samples.
    """
    from scmrl_plugins.core.data import show as samples
    from scmrl_plugins.core.system.progress import Progress

    samples.check_name(out)
    dataset, config = _build(chosen)
    with Progress() as progress:
        skipped = samples.show(dataset, config, split, count, out, progress)
    for path, reason in skipped:
        click.echo(f"left out: {path}: {reason}", err=True)
    click.echo(f"picture: {out}")


def _build(chosen: dict[str, Any]) -> tuple[Dataset, ExperimentConfig]:
    config = options.compose_dataset(**chosen)
    from scmrl_plugins.core.model.assembly import build_dataset

    return build_dataset(config)

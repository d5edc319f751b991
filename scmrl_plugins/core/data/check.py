"""Read every file of a data set and report which cannot be used, and what looks wrong; nothing is stored."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.transform import FileNotes, Rows, bad_files, transform_rows
from scmrl_plugins.core.data.workers import map_items
from scmrl_plugins.core.interfaces import MODALITIES, SPLITS, BadFileError, Dataset, EmptySplitError
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import Entry, UserError, catalogue
from scmrl_plugins.registry.errors import describe

if TYPE_CHECKING:
    import datasets

BATCH = 16
"""Rows that a worker reads at once: a step of the progress."""
USUAL = 8
"""Clips of which there must be as many for a usual length."""
FAR = (0.5, 0.5, 5.0)
"""A length is far from the median by these seconds, this share of it, and this many median absolute deviations."""


@dataclass
class Findings:
    """Samples and good samples by split, the files that cannot be used, those that were repaired, and warnings.

    ``warnings``: files that can be used, and what looks wrong with their content.
    """

    samples: dict[str, int] = field(default_factory=dict)
    good: dict[str, int] = field(default_factory=dict)
    bad: FileNotes = field(default_factory=list)
    repaired: FileNotes = field(default_factory=list)
    warnings: FileNotes = field(default_factory=list)
    lacking: str | None = None
    """Why a split has no samples, as far as the data set can tell."""

    @property
    def empty(self) -> list[str]:
        """The splits without a good sample."""
        return [split for split, count in self.good.items() if not count]


@dataclass
class _Batch:
    """Counts and files of a few rows."""

    samples: int
    good: int
    bad: FileNotes
    repaired: FileNotes
    warnings: FileNotes = field(default_factory=list)
    lengths: list[tuple[str, float]] = field(default_factory=list)
    """Files and their seconds."""


def check(dataset: Dataset, config: ExperimentConfig, progress: Progress, workers: int = 0) -> Findings:
    """Read every file of every split, whatever is stored of it.

    A file that several samples share is reported once. Raises ``UserError`` for a data set without any files.
    """
    import datasets

    source, lacking = catalogue().get("dataset", config.dataset.name), None
    try:
        rows = dataset.splits()
    except EmptySplitError as error:
        rows, lacking = error.splits, error
    findings = Findings(bad=bad_files(dataset), lacking=str(lacking) if lacking else None)
    lengths: dict[str, float] = {}
    for split in SPLITS:
        findings.samples[split] = findings.good[split] = 0
        if split not in rows:
            continue
        stream = isinstance(rows[split], datasets.IterableDataset)
        progress.stage(f"reading the {split} split", None if stream else len(rows[split]))
        for batch in _read_all(dataset, rows[split], workers, source):
            progress.advance(batch.samples)
            findings.samples[split] += batch.samples
            findings.good[split] += batch.good
            findings.bad += batch.bad
            findings.repaired += batch.repaired
            findings.warnings += batch.warnings
            lengths.update(batch.lengths)
    findings.warnings += unusual(lengths)
    if not findings.bad and not any(findings.samples.values()):
        raise lacking or UserError(
            f"data set {config.dataset.name!r} has no samples: check the folder that it reads"
        )
    findings.bad, findings.repaired = list(dict.fromkeys(findings.bad)), list(dict.fromkeys(findings.repaired))
    findings.warnings = list(dict.fromkeys(findings.warnings))
    return findings


def unusual(lengths: Mapping[str, float]) -> FileNotes:
    """The files whose length in seconds is far from the median, see ``FAR``; none of fewer than ``USUAL``."""
    if len(lengths) < USUAL:
        return []
    seconds = np.array([*lengths.values()])
    median = float(np.median(seconds))
    far = max(FAR[0], FAR[1] * median, FAR[2] * float(np.median(np.abs(seconds - median))))
    return [
        (path, f"lasts {each:.2f} s, where the usual length is {median:.2f} s")
        for path, each in lengths.items()
        if abs(each - median) > far
    ]


def _read_all(
    dataset: Dataset, rows: datasets.Dataset | datasets.IterableDataset, workers: int, source: Entry
) -> Iterator[_Batch]:
    """The outcomes of all rows in order. A stream is read by this process only."""
    import datasets

    if isinstance(rows, datasets.IterableDataset):
        return (_read(dataset, batch) for batch in _batches(rows))
    return map_items(functools.partial(_read_from, dataset, rows), range(0, len(rows), BATCH), workers, source)


def _batches(rows: datasets.IterableDataset) -> Iterator[Rows]:
    try:
        yield from rows.iter(batch_size=BATCH)
    except UserError:
        raise
    except Exception as error:  # whatever a connection, a file system or a reader of files raises
        raise UserError(f"the stream broke off ({describe(error)}); check its files and the connection") from error


def _read_from(dataset: Dataset, rows: datasets.Dataset, start: int) -> _Batch:
    return _read(dataset, rows[start : start + BATCH])


def _read(dataset: Dataset, rows: Rows) -> _Batch:
    result = transform_rows(dataset, rows)
    good = set(result.ids)
    for index, name in enumerate(rows["id"]):
        if str(name) not in good:  # the first of its files was refused; the other may be bad as well
            for single in _by_modality({key: column[index] for key, column in rows.items()}):
                again = transform_rows(dataset, single)
                result.bad += again.bad
                result.repaired += again.repaired
    batch = _Batch(len(rows["id"]), len(result.ids), result.bad, result.repaired)
    for index, name in enumerate(rows["id"]):
        if str(name) in good:
            _inspect(dataset, {key: column[index] for key, column in rows.items()}, batch)
    return batch


def _inspect(dataset: Dataset, row: dict[str, Any], batch: _Batch) -> None:
    """What looks wrong with the files of a good row, and how long they last."""
    paths = {
        name: cell["path"] for name in MODALITIES if isinstance(cell := row.get(name), dict) and cell.get("path")
    }
    try:
        contents = dataset.inspect(row)
    except BadFileError as error:
        batch.warnings.append((error.path, error.reason))
        return
    if contents:
        batch.warnings += [(paths.get("visual") or str(row["id"]), note) for note in contents.notes]
        if contents.seconds:
            longest = max(contents.seconds, key=contents.seconds.__getitem__)
            batch.lengths.append((paths.get(longest) or str(row["id"]), contents.seconds[longest]))


def _by_modality(row: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
    """For each modality of a row, the row without the other one."""
    for name in MODALITIES:
        if row.get(name) is not None:
            yield {key: [None if key in MODALITIES and key != name else cell] for key, cell in row.items()}

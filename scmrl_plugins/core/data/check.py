"""Every file of a data set read once, to say which cannot be used and why; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.prepare import SPLITS
from scmrl_plugins.core.data.store import Rows, transform_rows
from scmrl_plugins.core.interfaces import MODALITIES, Dataset
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import datasets

ROWS = 16
"""Rows that are read at once: what a worker is given, and a step of the progress."""

Told = list[tuple[str, str]]
"""Paths, each with what is to be said of it."""


@dataclass
class Findings:
    """Samples looked at and good ones by split, files that cannot be used, and files that were mended."""

    samples: dict[str, int] = field(default_factory=dict)
    good: dict[str, int] = field(default_factory=dict)
    bad: Told = field(default_factory=list)
    handled: Told = field(default_factory=list)

    @property
    def empty(self) -> list[str]:
        """The splits that have no good sample."""
        return [split for split, count in self.good.items() if not count]


def check(dataset: Dataset, config: ExperimentConfig, progress: Progress, workers: int = 0) -> Findings:
    """Read every file of every split anew, whatever is stored of it.

    A file that several samples share is told once. Raises ``UserError`` for a data set whose files are not there
    at all.
    """
    import datasets

    raw = dataset.splits()
    problems = getattr(dataset, "bad_files", None)
    found = Findings(bad=[(error.path, error.reason) for error in problems()] if problems else [])
    for split in SPLITS:
        found.samples[split] = found.good[split] = 0
        if split not in raw:
            continue
        rows = raw[split]
        total = None if isinstance(rows, datasets.IterableDataset) else len(rows)
        progress.stage(f"reading the {split} split", total)
        for part in _parts(dataset, split, rows, workers):
            progress.advance(part.samples[split])
            found.samples[split] += part.samples[split]
            found.good[split] += part.good[split]
            found.bad += part.bad
            found.handled += part.handled
    if not found.bad and not any(found.samples.values()):
        raise UserError(f"data set {config.dataset.name!r} has no samples: check the folder that it reads")
    found.bad, found.handled = list(dict.fromkeys(found.bad)), list(dict.fromkeys(found.handled))
    return found


def _parts(
    dataset: Dataset, split: str, rows: datasets.Dataset | datasets.IterableDataset, workers: int
) -> Iterator[Findings]:
    """What is found in a few rows after the other, in their order."""
    import datasets

    if isinstance(rows, datasets.IterableDataset):
        return (_read(dataset, split, batch) for batch in rows.iter(batch_size=ROWS))
    reading = _Reading(dataset, split, rows)
    return iter(DataLoader(reading, batch_size=None, num_workers=min(workers, len(reading))))


class _Reading(torch.utils.data.Dataset):
    """Reads some rows when it is asked for them, in whichever process asks."""

    def __init__(self, dataset: Dataset, split: str, rows: datasets.Dataset) -> None:
        self.dataset, self.split, self.rows = dataset, split, rows

    def __len__(self) -> int:
        return -(-len(self.rows) // ROWS)

    def __getitem__(self, index: int) -> Findings:
        return _read(self.dataset, self.split, self.rows[index * ROWS : (index + 1) * ROWS])


def _read(dataset: Dataset, split: str, rows: Rows) -> Findings:
    outcome, _, kept = transform_rows(dataset, split, rows)
    good = {row["id"] for row in kept}
    for place, name in enumerate(rows["id"]):
        if str(name) not in good:  # the first of its files was refused: what of the other?
            for single in _by_modality({key: column[place] for key, column in rows.items()}):
                told = transform_rows(dataset, split, single)[0]
                outcome.bad += told.bad
                outcome.handled += told.handled
    return Findings({split: len(rows["id"])}, {split: len(kept)}, outcome.bad, outcome.handled)


def _by_modality(row: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
    """A row of each modality that is there, without the other."""
    for name in MODALITIES:
        if row.get(name) is not None:
            yield {key: [None if key in MODALITIES and key != name else cell] for key, cell in row.items()}

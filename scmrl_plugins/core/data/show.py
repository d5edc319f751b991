"""Samples of a data set as a model gets them, chosen from every class and drawn into one picture."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.picture import Example, figure
from scmrl_plugins.core.data.transform import FileNotes, transform_rows
from scmrl_plugins.core.interfaces import SPLITS, Dataset
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import datasets

FORMATS = (".png", ".pdf", ".svg")


def check_name(path: Path) -> None:
    """Raises ``UserError`` for a file name without a supported image format."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: the file name must end with {', '.join(FORMATS)}; for example -o samples.png")


def show(
    dataset: Dataset, config: ExperimentConfig, split: str, count: int, path: Path, progress: Progress
) -> FileNotes:
    """Draw ``count`` samples of a split, alternating classes, and return the bad files found among them.

    ``train.seed`` determines the samples and their augmentation. Only these samples are decoded.
    """
    import datasets

    splits = dataset.splits()
    if split not in splits:
        raise UserError(f"data set {config.dataset.name!r} has no {split} samples")
    rows: Any = splits[split]
    if isinstance(rows, datasets.IterableDataset):
        rows = _Table(rows.take(count))
    bad: FileNotes = []
    progress.stage(f"decoding {split} samples", count)
    examples = []
    for example in itertools.islice(_examples(dataset, rows, config.train.seed, bad), count):
        examples.append(example)
        progress.advance()
    if not examples:
        reason = f"; the first of {len(bad)} bad files is {': '.join(bad[0])}" if bad else ""
        raise UserError(f"data set {config.dataset.name!r} has no {split} sample to show{reason}")
    counts = {
        name: np.bincount(splits[name]["label"], minlength=len(dataset.classes))
        for name in SPLITS
        if name in splits and not isinstance(splits[name], datasets.IterableDataset)
    }
    title = f"{config.dataset.name}, {split} split"
    picture = figure(title, dataset.classes, examples, counts, dataset.spectrograms)
    with files.replacing(path) as temporary:
        picture.savefig(temporary, format=path.suffix[1:].lower(), dpi=120)
    return bad


class _Table:
    """Rows of a stream, indexed like a table."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.rows = list(rows)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return [row[key] for row in self.rows]
        rows = self.rows[key]
        return {name: [row[name] for row in rows] for name in rows[0]}


def _examples(dataset: Dataset, rows: datasets.Dataset | _Table, seed: int, bad: FileNotes) -> Iterator[Example]:
    """Good samples in random order, alternating classes."""
    for index in alternating(np.asarray(rows["label"]), np.random.default_rng(seed)):
        result = transform_rows(dataset, rows[index : index + 1])
        bad += result.bad
        if not result.arrays:
            continue
        stored = result.arrays[0]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed + index)
            drawn = dataset.inputs(stored, True)
        yield Example(result.labels[0], result.ids[0], dataset.inputs(stored, False), drawn)


def alternating(labels: np.ndarray, rng: np.random.Generator) -> list[int]:
    """All indices: the first of each class, then the second of each, and so on; shuffled within a class."""
    order = rng.permutation(len(labels))
    turns = np.zeros(len(labels), dtype=int)
    for label in np.unique(labels):
        turns[labels[order] == label] = np.arange(np.sum(labels == label))
    return [int(order[index]) for index in np.lexsort((labels[order], turns))]

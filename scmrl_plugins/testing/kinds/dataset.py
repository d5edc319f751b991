"""What a data set promises; its ``fixture`` stands for the user's files.

A row transformed twice is compared to the bit: the same operations on the same bytes.
"""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scmrl_plugins.core.interfaces import MODALITIES, SPLITS, Dataset, ModelConfig
from scmrl_plugins.registry import UserError
from scmrl_plugins.testing.checks import check, fail, require
from scmrl_plugins.testing.subject import Subject

COLUMNS = {*MODALITIES, "label", "id"}


@check("dataset")
def check_building_touches_no_file(subject: Subject) -> None:
    """It can be built with its default settings without any data, and has its channels and classes.

    The classes may be empty until ``settle`` has read them from the files.
    """
    dataset = subject.cls(subject.cls.Config(), ModelConfig())
    classes = dataset.classes or subject.build().classes
    require(len(classes) > 1, f"has {len(classes)} classes")
    names = [str(name) for name in dataset.classes]
    require(len(set(names)) == len(names), "names a class twice")
    require(set(dataset.channels) == set(MODALITIES), f"channels are of {sorted(dataset.channels)}")


@check("dataset")
def check_fixture(subject: Subject) -> None:
    """``fixture(folder)`` writes a small data set without network access, which gives all three splits."""
    has_fixture = subject.cls.fixture is not Dataset.fixture
    require(has_fixture, "has no fixture(folder) that writes a miniature of its files")
    splits = subject.build().splits()
    for name in SPLITS:
        require(name in splits and len(splits[name]) > 0, f"the fixture has no {name} samples")


@check("dataset")
def check_rows_are_as_declared(subject: Subject) -> None:
    """Rows have ``audio``, ``visual``, ``label``, ``id`` and the group columns.

    Labels are indices of classes, ids are unique, and groups are text.
    """
    dataset = subject.build()
    for name, rows in dataset.splits().items():
        require(set(rows.column_names) >= COLUMNS, f"the {name} rows have the columns {rows.column_names}")
        labels, ids = rows["label"], rows["id"]
        require(all(isinstance(label, int) for label in labels), f"a label of the {name} split is not an integer")
        require(
            set(labels) <= set(range(len(dataset.classes))),
            f"a label of the {name} split is not the index of a class",
        )
        require(len(set(ids)) == len(ids), f"an id comes twice in the {name} split")
        for column in dataset.group_columns:
            require(column in rows.column_names, f"the {name} rows lack the group column {column!r}")
            texts = all(isinstance(group, str) for group in rows[column])
            require(texts, f"a group in the column {column!r} of the {name} split is not text")


@check("dataset")
def check_splits_are_disjoint(subject: Subject) -> None:
    """No recording or image is in two splits, by id or by content."""
    splits = subject.build().splits()
    for column in ("id", *MODALITIES):
        seen: dict[Any, str] = {}
        for name, rows in splits.items():
            for value in rows[column]:
                key = _digest(value)
                if seen.setdefault(key, name) != name:
                    fail(f"the {column} of a {name} sample is in the {seen[key]} split too")


def _digest(value: Any) -> bytes:
    """A hash of what a cell holds; its ``repr`` may be shortened, as an array's, or an address, as an image's."""
    if isinstance(value, Mapping):
        value = {key: _digest(item) for key, item in value.items()}
    elif hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        array = np.asarray(value)
        value = (array.shape, array.tobytes())
    return hashlib.sha256(repr(value).encode()).digest()


@check("dataset")
def check_transform(subject: Subject) -> None:
    """``transform`` gives one array for each row and modality, the same each time."""
    dataset = subject.build()
    rows = dataset.splits()["train"][:4]
    count = len(rows["label"])
    first, second = dataset.transform(rows), dataset.transform(rows)
    require(set(first) == set(MODALITIES), f"turns a row into {sorted(first)}, expected {sorted(MODALITIES)}")
    for name, arrays in first.items():
        require(len(arrays) == count, f"turns {count} rows into {len(arrays)} arrays of {name}")
        same = all(np.array_equal(one, two) for one, two in zip(arrays, second[name], strict=True))
        require(same, f"{name} differs when the same rows are transformed again")


@check("dataset")
def check_inputs(subject: Subject) -> None:
    """Inputs are finite float32 ``[C, H, W]`` or ``[T, C, H, W]``; training draws under torch's seed."""
    dataset = subject.build()
    columns = dataset.transform(dataset.splits()["train"][:4])
    stored: list[Mapping[str, np.ndarray]] = [
        {name: np.asarray(columns[name][index]) for name in MODALITIES} for index in range(4)
    ]
    size = subject.model.image_size
    for arrays in stored:
        for training in (False, True):
            inputs = _inputs(dataset, arrays, training)
            for name, array in inputs.items():
                wanted = [dataset.channels[name], size, size]
                require(array.dtype == np.float32, f"{name} is {array.dtype}, expected float32")
                fits = array.ndim in (3, 4) and list(array.shape[-3:]) == wanted
                require(fits, f"{name} is {list(array.shape)}, expected {wanted}, or the same with T first")
                require(bool(np.isfinite(array).all()), f"{name} is not finite")
            same = all(
                np.array_equal(array, inputs[name]) for name, array in _inputs(dataset, arrays, training).items()
            )
            require(
                same, f"{'training' if training else 'evaluation'} differs under one seed of torch's generator"
            )
        still = _inputs(dataset, arrays, False, seed=1)
        require(
            all(np.array_equal(array, still[name]) for name, array in _inputs(dataset, arrays, False).items()),
            "evaluation depends on the seed",
        )


def _inputs(
    dataset: Any, arrays: Mapping[str, np.ndarray], training: bool, seed: int = 0
) -> Mapping[str, np.ndarray]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return dataset.inputs(arrays, training)


@check("dataset")
def check_measured_settings(subject: Subject) -> None:
    """``measure`` returns settings that ``Config`` takes, with which the data set gives the same inputs."""
    dataset, config = subject.build(), subject.config()
    columns = dataset.transform(dataset.splits()["train"][:4])
    samples: list[Mapping[str, np.ndarray]] = [
        {name: np.asarray(columns[name][index]) for name in MODALITIES} for index in range(4)
    ]
    settings = dict(dataset.measure(samples))
    again = subject.build(config=subject.cls.Config.model_validate({**config.model_dump(), **settings}))
    for arrays in samples:
        measured, built = _inputs(dataset, arrays, False), _inputs(again, arrays, False)
        same = all(np.array_equal(measured[name], built[name]) for name in measured)
        require(same, f"inputs differ when it is built with what it measured ({', '.join(sorted(settings))})")


@check("dataset")
def check_blank(subject: Subject) -> None:
    """``blank`` has finite float32 values for each modality that broadcast to its inputs ``[C, H, W]``."""
    dataset = subject.build()
    size = subject.model.image_size
    require(set(dataset.blank) == set(MODALITIES), f"blank is of {sorted(dataset.blank)}")
    for name, array in dataset.blank.items():
        wanted = (dataset.channels[name], size, size)
        require(array.dtype == np.float32, f"blank {name} is {array.dtype}, expected float32")
        try:
            np.broadcast_to(array, wanted)
        except ValueError:
            fail(f"blank {name} is {list(array.shape)}, which does not broadcast to {list(wanted)}")
        require(bool(np.isfinite(array).all()), f"blank {name} is not finite")


@check("dataset")
def check_a_bad_file_is_refused(subject: Subject) -> None:
    """``transform`` raises a ``UserError`` that names the file if its content is invalid."""
    dataset = subject.build()
    row = dataset.splits()["train"][:1]
    for name in MODALITIES:
        cell = row[name][0]
        if not (isinstance(cell, Mapping) and {"bytes", "path"} <= set(cell)):
            continue  # its rows name no files
        original = Path(cell["path"] or f"file.{name}").name
        spoilt = {**cell, "bytes": b"\0 no such data", "path": f"spoilt-{original}"}
        try:
            dataset.transform({**row, name: [spoilt]})
        except UserError as error:
            require("spoilt-" in str(error), f"{error} does not name the file")
        else:
            fail(f"accepts invalid {name}")


@check("dataset")
def check_pickles_to_workers(subject: Subject) -> None:
    """The data set can be pickled for worker processes, and its copy gives the same arrays."""
    dataset = subject.build()
    rows = dataset.splits()["train"][:2]
    try:
        copy = pickle.loads(pickle.dumps(dataset))
    except Exception as error:
        fail(f"cannot be sent to a worker: {type(error).__name__}: {error}")
    again = copy.transform(rows)
    for name, arrays in dataset.transform(rows).items():
        same = all(np.array_equal(one, two) for one, two in zip(arrays, again[name], strict=True))
        require(same, f"{name} differs in the copy of a worker")


@check("dataset")
def check_a_missing_file_is_refused(subject: Subject) -> None:
    """``read`` raises a ``UserError`` that names the file if it does not exist."""
    dataset = subject.build()
    with tempfile.TemporaryDirectory() as folder:
        for name in MODALITIES:
            path = Path(folder) / f"no-such-{name}"
            given: dict[str, Any] = {"audio": None, "visual": None, name: path}
            try:
                dataset.read(**given)
            except UserError as error:
                require(path.name in str(error), f"{error} does not name the file")
            else:
                fail(f"reads a {name} file that does not exist")

"""Predictions by sample in a Parquet file: what evaluations are paired by, and combined from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scmrl_plugins.core.evaluation.metrics import Predictions
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import shortened

_METADATA = b"scmrl"
_CLASS, _GROUP = "log_probability.", "group."
"""Prefixes of the columns of each class and of each group."""


def write_predictions(path: Path, predictions: Predictions, description: Mapping[str, Any]) -> None:
    """Write a row for each sample, in the order of the split; ``UserError`` if the file cannot be written.

    Columns: ``id``, ``target`` and ``predicted`` (names of classes), ``log_probability.CLASS`` (natural logarithm)
    and ``group.COLUMN``. The file's metadata has under ``scmrl``, as JSON, the classes and ``description``: the
    run, split, corruptions and whatever else tells one file from another.
    """
    import pyarrow
    import pyarrow.parquet

    classes = list(predictions.classes)
    log_probabilities = predictions.logits.double().log_softmax(1)
    columns: dict[str, Any] = {
        "id": list(predictions.ids),
        "target": [classes[index] for index in predictions.targets.tolist()],
        "predicted": [classes[index] for index in predictions.predicted.tolist()],
        **{f"{_CLASS}{name}": log_probabilities[:, index].numpy() for index, name in enumerate(classes)},
        **{f"{_GROUP}{name}": list(values) for name, values in predictions.groups.items()},
    }
    metadata = files.to_json({**description, "classes": classes}).encode()
    table = pyarrow.table(columns).replace_schema_metadata({_METADATA: metadata})
    files.check_name(path)
    try:
        with files.replacing(path) as temporary:
            pyarrow.parquet.write_table(table, temporary)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); name another file") from None


def read_predictions(path: Path) -> tuple[Predictions, dict[str, Any]]:
    """The predictions in a file that ``write_predictions`` wrote, and its description.

    The logits are the log-probabilities, and the losses their cross-entropy. Raises ``UserError`` for a file that
    cannot be read or is another one.
    """
    import pyarrow
    import pyarrow.parquet

    # RecursionError is a RuntimeError.
    damaged = (OSError, pyarrow.ArrowException, LookupError, TypeError, ValueError, AttributeError, RuntimeError)
    files.check_name(path)
    files.check_regular(path)
    try:
        table = pyarrow.parquet.read_table(path)
        description = json.loads(table.schema.metadata[_METADATA])
        files.check_texts(description)
        classes = description.pop("classes")
        number = {name: index for index, name in enumerate(classes)}
        targets = torch.tensor([number[name] for name in table["target"].to_pylist()], dtype=torch.long)
        columns = [torch.tensor(table[f"{_CLASS}{name}"].to_numpy()) for name in classes]
        ids, logits = table["id"].to_pylist(), torch.stack(columns, 1)
        names = [name for name in table.column_names if name.startswith(_GROUP)]
        groups = {name.removeprefix(_GROUP): table[name].to_pylist() for name in names}
    except damaged as error:
        reason = shortened(str(error), 300)
        raise UserError(
            f"{path}: cannot be read as predictions ({reason}); write them with scmrl eval RUN --predictions FILE"
        ) from None
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return Predictions(targets, logits, losses, classes, ids, groups), description

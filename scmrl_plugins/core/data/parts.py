"""The files of the feature store: some rows' arrays in an Arrow file, and a JSON record of what became of them."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scmrl_plugins.core.data.transform import Arrays, FileNotes, Transformed
from scmrl_plugins.core.system import files

if TYPE_CHECKING:
    import pyarrow

VERSION = 3
"""Counts up with every change of what is written."""


GROUP = "group."
"""Prefix of the columns of groups."""


@dataclass
class Outcome:
    """What became of some rows: how many are stored, in how many bytes, and their bad and repaired files."""

    rows: int = 0
    size: int = 0
    bad: FileNotes = field(default_factory=list)
    repaired: FileNotes = field(default_factory=list)
    computed: bool = False
    """Whether this call computed it; else it was stored before."""

    @property
    def total(self) -> int:
        """The rows that were looked at."""
        return self.rows + len(self.bad)


@dataclass(frozen=True)
class Part:
    """The rows from ``start`` on, stored in one Arrow file."""

    start: int
    path: Path

    @property
    def record(self) -> Path:
        """The outcome as JSON. It is written last: where it exists, the part is complete."""
        return self.path.with_suffix(".json")

    @property
    def end(self) -> Path:
        """An empty file that marks the end of a stream, which has no rows from ``start`` on."""
        return self.path.with_suffix(".end")

    def outcome(self) -> Outcome | None:
        """The recorded outcome; ``None`` if the part is missing or damaged and has to be computed.

        A process verifies the hash of both files once, and again if one of them changed.
        """
        return _verified(self, files.state(self.record), files.state(self.path))

    def position(self) -> Any:
        """The stream's position behind a complete part; ``None`` if the stream did not report it."""
        return json.loads(self.record.read_text(encoding="utf-8"))["position"]

    def write(self, batch: Transformed, position: Any = None) -> Outcome:
        """Store transformed rows; of a stream also its ``position`` behind them, a JSON value."""
        size = _write_arrow(self.path, batch) if batch.arrays else 0
        outcome = Outcome(len(batch.arrays), size, batch.bad, batch.repaired, computed=True)
        record = {
            "rows": outcome.rows,
            "bad": outcome.bad,
            "handled": outcome.repaired,
            "bytes": size,
            "position": position,
        }
        files.write_text(self.record, json.dumps({**record, "hash": self._hash(record)}))
        return outcome

    def _hash(self, record: Mapping[str, Any]) -> str:
        """A hash of the record and the Arrow file."""
        content = files.content_hash(self.path) if record["rows"] else None
        return hashlib.sha256(json.dumps([record, content]).encode()).hexdigest()


@functools.cache
def _verified(part: Part, *states: files.State) -> Outcome | None:
    """The outcome of a part whose files have these states."""
    if states[0] is None:
        return None
    try:
        record = json.loads(part.record.read_text(encoding="utf-8"))
        expected = record.pop("hash")
        if part._hash(record) != expected:
            return None
        return Outcome(
            rows=record["rows"],
            size=record["bytes"],
            bad=[(path, reason) for path, reason in record["bad"]],
            repaired=[(path, what) for path, what in record["handled"]],
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _write_arrow(path: Path, batch: Transformed) -> int:
    """Write one Arrow file; return its size. An array is its bytes, shape and type: rows may differ in both."""
    import pyarrow

    array = pyarrow.struct(
        [("data", pyarrow.large_binary()), ("shape", pyarrow.list_(pyarrow.int32())), ("dtype", pyarrow.string())]
    )
    table = pyarrow.table(
        {
            **{key: pyarrow.array(_cells(batch.arrays, key), type=array) for key in batch.arrays[0]},
            "id": pyarrow.array(batch.ids),
            "label": pyarrow.array(batch.labels, type=pyarrow.int64()),
            **{f"{GROUP}{name}": pyarrow.array(cells, pyarrow.string()) for name, cells in batch.groups.items()},
        }
    )
    with files.replacing(path) as temporary:
        with pyarrow.OSFile(str(temporary), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return temporary.stat().st_size


def _cells(rows: Sequence[Arrays], key: str) -> list[Mapping[str, Any]]:
    return [{"data": row[key].tobytes(), "shape": row[key].shape, "dtype": row[key].dtype.str} for row in rows]


def read_array(cell: pyarrow.StructScalar) -> np.ndarray:
    """An array that ``Part.write`` wrote, read-only and not copied."""
    return np.frombuffer(cell["data"].as_buffer(), dtype=cell["dtype"].as_py()).reshape(cell["shape"].as_py())

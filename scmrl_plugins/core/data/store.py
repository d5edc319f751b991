"""What ``transform`` makes of a data set's rows, stored once: Arrow files of a few hundred samples each.

A file is named after all that its content depends on: the rows, the size and time of the files they name, the
data set's settings and its plugin's version. So what is there is never computed again, what a user mends is, and
a preparation that was killed goes on with the next file.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.interfaces import MODALITIES, BadFileError, Dataset, Handled, cache_dir
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError, catalogue
from scmrl_plugins.registry.errors import describe

if TYPE_CHECKING:
    import datasets

ROWS = 128
"""Rows of a file: what a killed preparation may lose, and a few seconds of work."""
VERSION = 2
"""Counts up with every change of how files are written."""

Rows = Mapping[str, list[Any]]


@dataclass
class Outcome:
    """What became of some rows: how many are stored, which were refused, and what was mended in which files."""

    split: str
    rows: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    handled: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """The rows from ``start`` on that one file stores."""

    split: str
    start: int
    path: Path

    @property
    def record(self) -> Path:
        """The outcome, written last: where it is, the part is complete."""
        return self.path.with_suffix(".json")

    def outcome(self) -> Outcome | None:
        """What became of the rows, or none where they have to be computed, if again."""
        try:
            found = json.loads(self.record.read_text(encoding="utf-8"))
            size, _ = found.pop("bytes"), found.pop("position")
            outcome = Outcome(**found)
            outcome.bad = [(path, reason) for path, reason in outcome.bad]
            outcome.handled = [(path, what) for path, what in outcome.handled]
            if outcome.rows and self.path.stat().st_size != size:
                return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        outcome.split = self.split
        return outcome

    def position(self) -> Any:
        """Where the stream stood behind this part, which is complete; none where that is not known."""
        return json.loads(self.record.read_text(encoding="utf-8"))["position"]


class FeatureStore:
    """The stored features of one split. ``parts`` are its files, in the order of the rows.

    Rows that come as a stream are numbered in its order, so their files are known as they come.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: ExperimentConfig,
        split: str,
        rows: datasets.Dataset | datasets.IterableDataset,
    ) -> None:
        import datasets

        self.dataset, self.split, self.rows = dataset, split, rows
        entry = catalogue().get("dataset", config.dataset.name)
        depends = settings(dataset, config)
        self.key = _digest(VERSION, entry.plugin.distribution, entry.plugin.version, entry.name, depends)
        self.folder = cache_dir() / "features" / f"{entry.name.replace(':', '-')}-{self.key[:16]}"
        self.streamed = isinstance(rows, datasets.IterableDataset)
        self.parts: list[Part] = (
            [] if self.streamed else [self._part(start) for start in range(0, len(rows), ROWS)]
        )

    def _part(self, start: int) -> Part:
        import pyarrow

        table = self.rows.with_format("arrow")[start : start + ROWS]
        described: list[Any] = [table["id"].to_pylist(), table["label"].to_pylist()]
        stored = False
        for name in MODALITIES:
            cells = table[name].combine_chunks() if name in table.column_names else None
            if cells is None:
                continue
            kind = cells.type
            if not pyarrow.types.is_struct(kind) or min(map(kind.get_field_index, ("bytes", "path"))) < 0:
                stored = True
                continue
            stored |= cells.field("bytes").null_count < len(cells)
            described.append([_state(path) for path in cells.field("path").to_pylist()])
        # What a row holds itself, its data set's fingerprint tells, without reading it all.
        content = (self.rows._fingerprint, start) if stored else ()
        return Part(self.split, start, self.folder / f"{_digest(self.key, content, described)[:32]}.arrow")

    def missing(self) -> list[Part]:
        """The parts that are still to be computed."""
        return [part for part in self.parts if part.outcome() is None]

    def samples(self, part: Part) -> int:
        """How many rows a part stands for."""
        return min(ROWS, len(self.rows) - part.start)

    def compute(self, part: Part, rows: Rows | None = None, position: Any = None) -> Outcome:
        """Transform the rows of a part and store what comes of it.

        Of a stream: ``rows`` as they were read, and the ``position`` behind them.
        """
        rows = self.rows[part.start : part.start + ROWS] if rows is None else rows
        try:
            outcome, arrays, kept = transform_rows(self.dataset, self.split, rows)
        except ConnectionError as error:
            raise UserError(f"{error}; the same command goes on from there") from error
        with _storing(self.folder):
            size = _write(part.path, arrays, kept) if outcome.rows else 0
            files.write_text(part.record, json.dumps({**asdict(outcome), "bytes": size, "position": position}))
        return outcome

    def stream(self) -> Iterator[tuple[Outcome, bool]]:
        """Compute what is missing of a stream, whose rows are known only as they come; as ``(outcome, new)``.

        Where parts are there already, the stream is taken up behind them, where the last of them left it.
        """
        reading: Iterator[Mapping[str, Any]] | None = None
        before: Part | None = None
        for start in itertools.count(0, ROWS):
            part = Part(self.split, start, self.folder / f"{_digest(self.key, self.split, start)[:32]}.arrow")
            end = part.path.with_suffix(".end")
            outcome = part.outcome()
            new = outcome is None
            if outcome is not None:
                reading = None
            elif end.exists():
                return
            else:
                reading = reading or self._behind(before)
                rows = self._next(reading, start)
                if not rows:
                    with _storing(self.folder):
                        files.write_text(end, "")
                    return
                batch = {key: [row[key] for row in rows] for key in rows[0]}
                outcome = self.compute(part, batch, self._position())
            self.parts.append(part)
            yield outcome, new
            before = part

    def _behind(self, part: Part | None) -> Iterator[Mapping[str, Any]]:
        """The rows of the stream after those of a part, or all of them."""
        position = part.position() if part else None
        self.rows.load_state_dict(position)
        return itertools.islice(self.rows, part.start + ROWS if part and position is None else 0, None)

    def _next(self, reading: Iterator[Mapping[str, Any]], start: int) -> list[Mapping[str, Any]]:
        try:
            return list(itertools.islice(reading, ROWS))
        except UserError:
            raise
        except Exception as error:  # whatever a connection, a file system or a reader of files raises
            raise UserError(
                f"the {self.split} stream broke off after row {start} ({describe(error)}); the same command goes "
                f"on from there"
            ) from error

    def _position(self) -> Any:
        """Where the stream stands, to be taken up from; none where that cannot be written down."""
        position = self.rows.state_dict()
        try:
            json.dumps(position)
        except TypeError:
            return None
        return position

    def outcomes(self) -> list[Outcome]:
        """What became of the rows of every part that is complete."""
        return [outcome for part in self.parts if (outcome := part.outcome()) is not None]


def settings(dataset: Dataset, config: ExperimentConfig) -> Any:
    """What the stored arrays of a data set depend on beside its rows."""
    key = getattr(dataset, "transform_key", None)
    return dict(key()) if key else (config.dataset.model_dump(), config.model.model_dump())


def _state(path: str | None) -> Any:
    """A file's path, size and time; ``#`` separates a container from what it holds."""
    if not path:
        return None
    for name in (path, path.rpartition("#")[0]):
        with contextlib.suppress(OSError, ValueError):
            status = Path(name).stat()
            return path, status.st_size, status.st_mtime_ns
    return path


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@contextlib.contextmanager
def noting_handled() -> Iterator[list[Handled]]:
    """A list that everything mended meanwhile comes into; other warnings go their way."""
    noted: list[Handled] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(message: Any, *rest: Any, **more: Any) -> None:
            if isinstance(message, Handled):
                noted.append(message)
            else:
                show(message, *rest, **more)

        warnings.simplefilter("always", Handled)
        warnings.showwarning = note
        yield noted


def transform_rows(
    dataset: Dataset, split: str, rows: Rows
) -> tuple[Outcome, list[Mapping[str, np.ndarray]], list[Mapping[str, Any]]]:
    """What became of a batch of rows: its outcome, and for each row that is good its arrays, id and label."""
    outcome = Outcome(split)
    count = len(rows["label"])
    singles = [{key: [column[place]] for key, column in rows.items()} for place in range(count)]
    arrays: list[Mapping[str, np.ndarray] | None]
    with noting_handled() as handled:
        try:
            arrays = _rows(dataset.transform(rows))
        except UserError:  # one of them is bad: which?
            handled.clear()
            arrays = [_one(dataset, single, outcome) for single in singles]
    outcome.handled = [(mended.path, mended.what) for mended in handled]
    kept: list[Mapping[str, Any]] = [
        {"id": str(rows["id"][place]), "label": int(rows["label"][place])}
        for place in range(count)
        if arrays[place] is not None
    ]
    good = [found for found in arrays if found is not None]
    outcome.rows = len(good)
    return outcome, good, kept


def _rows(columns: Mapping[str, Sequence[np.ndarray]]) -> list[Mapping[str, np.ndarray] | None]:
    count = len(next(iter(columns.values())))
    return [{key: np.asarray(column[place]) for key, column in columns.items()} for place in range(count)]


def _one(dataset: Dataset, row: Rows, outcome: Outcome) -> Mapping[str, np.ndarray] | None:
    try:
        return _rows(dataset.transform(row))[0]
    except BadFileError as error:
        outcome.bad.append((error.path, error.reason))
    except UserError as error:
        outcome.bad.append((str(row["id"][0]), str(error)))
    return None


def _write(path: Path, arrays: Sequence[Mapping[str, np.ndarray]], kept: Sequence[Mapping[str, Any]]) -> int:
    """One Arrow file; an array is its bytes, its shape and its type, as rows may differ in shape."""
    import pyarrow

    array = pyarrow.struct(
        [("data", pyarrow.large_binary()), ("shape", pyarrow.list_(pyarrow.int32())), ("dtype", pyarrow.string())]
    )
    columns: dict[str, Any] = {
        key: pyarrow.array(
            [{"data": row[key].tobytes(), "shape": row[key].shape, "dtype": row[key].dtype.str} for row in arrays],
            type=array,
        )
        for key in arrays[0]
    }
    table = pyarrow.table(
        {
            **columns,
            "id": pyarrow.array([row["id"] for row in kept]),
            "label": pyarrow.array([row["label"] for row in kept], type=pyarrow.int64()),
        }
    )
    with files.replacing(path) as temporary:
        with pyarrow.OSFile(str(temporary), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return temporary.stat().st_size


def inputs_of(dataset: Dataset, stored: Mapping[str, np.ndarray], training: bool) -> Mapping[str, np.ndarray]:
    """What a model gets of a sample's stored arrays: ``dataset.inputs``, or the arrays where it has none."""
    finish = getattr(dataset, "inputs", None)
    return finish(stored, training) if finish else stored


class FeatureSplit(torch.utils.data.Dataset):
    """One split as a model gets it: ``split[i]`` is ``{"audio", "visual", "label"}``, memory-mapped.

    ``sample(i, training=True)`` draws from torch's generator what the data set draws anew.
    """

    def __init__(self, dataset: Dataset, parts: Sequence[Part]) -> None:
        import datasets

        self.dataset = dataset
        tables = [datasets.Dataset.from_file(str(part.path)) for part in parts]
        self.rows = datasets.concatenate_datasets(tables).with_format("arrow")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.sample(index)

    def sample(self, index: int, *, training: bool = False) -> dict[str, Any]:
        """A sample's inputs and its label."""
        arrays, label = self.stored(index)
        return {**inputs_of(self.dataset, arrays, training), "label": np.int64(label)}

    def stored(self, index: int) -> tuple[Mapping[str, np.ndarray], int]:
        """What ``transform`` made of a sample, as it lies in the file, read-only; and the label."""
        row = self.rows[index]
        # One row lies in one chunk: taken as it is, as combining chunks would copy it.
        names: list[str] = [name for name in MODALITIES if name in row.column_names]
        return {name: _array(row[name].chunk(0)) for name in names}, row["label"][0].as_py()


def _array(cells: Any) -> np.ndarray:
    cell = cells[0]
    return np.frombuffer(cell["data"].as_buffer(), dtype=cell["dtype"].as_py()).reshape(cell["shape"].as_py())


@contextlib.contextmanager
def _storing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder}: features cannot be stored here ({error.strerror or error}); free space or name another "
            f"folder in SCMRL_CACHE"
        ) from error


@contextlib.contextmanager
def alone(folder: Path, waiting: Any) -> Iterator[None]:
    """The only process that fills a folder, whose leftovers of killed ones it removes.

    ``waiting()`` is called once where another process is at it.
    """
    from filelock import FileLock, Timeout

    with _storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
    try:
        files.sweep(folder)
        yield
    finally:
        lock.release()

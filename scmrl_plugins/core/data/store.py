"""The feature store: what ``transform`` makes of a data set's rows, computed once and kept in Arrow files.

A file is named after all that its content depends on: the rows, the size and time of the files they name, the
settings that ``transform`` depends on and the plugin's version. Nothing is computed twice, a file that the user
repairs is read again, and an interrupted preparation resumes with the next part.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data import cache
from scmrl_plugins.core.data.parts import VERSION, Outcome, Part
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.data.transform import Rows, groups_of, transform_rows
from scmrl_plugins.core.data.workers import map_items
from scmrl_plugins.core.interfaces import MODALITIES, Dataset, cache_dir
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.private import fingerprint
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError, catalogue

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Status:
    """How many rows of a split are through, stored or bad, and its number of rows, none for a stream."""

    stored: int
    total: int | None


class FeatureStore(ABC):
    """The stored features of one split: ``fill`` computes what is missing, ``read`` gives what is stored."""

    part_rows: ClassVar[int] = 128
    """Rows of a part: a few seconds of work, which an interruption may cost."""

    def __init__(self, dataset: Dataset, config: ExperimentConfig, split: str) -> None:
        self.dataset, self.split = dataset, split
        self.source = entry = catalogue().get("dataset", config.dataset.name)
        self.name = entry.name
        self.key = digest(
            VERSION,
            entry.plugin.distribution,
            entry.plugin.version,
            entry.name,
            transform_settings(dataset, config),
            *dataset.group_columns,
        )
        self.folder = cache_dir() / "features" / f"{entry.name.replace(':', '-')}-{self.key[:16]}"
        self._complete: dict[Part, Outcome] = {}

    @abstractmethod
    def status(self) -> Status:
        """What is currently stored, according to the records."""

    @abstractmethod
    def fill(self, workers: int, progress: Progress) -> Generator[Outcome, None, None]:
        """The outcome of every part; those that are missing are computed and stored.

        Only one process at a time fills a folder; others wait for it.
        """

    def read(self) -> FeatureSplit | None:
        """The split as a model gets it, from the parts that ``fill`` has yielded; ``None`` if all rows are bad."""
        cache.use(self.folder, self.name, [part.path for part in self._complete])
        parts = [part for part, outcome in self._complete.items() if outcome.rows]
        parts.sort(key=lambda part: part.start)
        return FeatureSplit(self.dataset, [part.path for part in parts]) if parts else None

    def _outcome(self, part: Part) -> Outcome | None:
        """A part's outcome if it is complete; its record is read once."""
        if part not in self._complete and (outcome := part.outcome()) is not None:
            self._complete[part] = outcome
        return self._complete.get(part)

    def _compute(self, part: Part, rows: Rows, position: Any = None) -> Outcome:
        """Transform the rows of a part and store them; of a stream with its ``position`` behind them."""
        try:
            batch = transform_rows(self.dataset, rows)
        except ConnectionError as error:
            raise UserError(f"{error}; the same command resumes from there") from error
        with writing(self.folder):
            return part.write(batch, position)

    @contextlib.contextmanager
    def _locked(self, progress: Progress) -> Iterator[None]:
        """No other process fills the folder meanwhile; what killed ones left in it is removed."""
        with contextlib.ExitStack() as stack:
            with writing(self.folder):
                stack.enter_context(files.waiting(self.folder / cache.LOCK, lambda: self._report(progress)))
                files.remove_partial(self.folder)
            yield

    def _report_damage(self, part: Part, progress: Progress) -> None:
        if part.record.exists():
            progress.line(f"{part.path}: the stored features are damaged; they are computed again")

    def _report(self, progress: Progress) -> None:
        progress.line(f"another process prepares {self.split} in {self.folder}: waiting for it")


class TableStore(FeatureStore):
    """The features of a table. Several processes compute its parts."""

    def __init__(self, dataset: Dataset, config: ExperimentConfig, split: str, rows: datasets.Dataset) -> None:
        super().__init__(dataset, config, split)
        self.rows = rows
        tables = rows.with_format("arrow")  # once, as it copies the description of the rows
        self.parts = [self._part(start, tables) for start in range(0, len(rows), self.part_rows)]

    def _part(self, start: int, tables: datasets.Dataset) -> Part:
        import pyarrow

        table: Any = tables[start : start + self.part_rows]
        described: list[Any] = [table["id"].to_pylist(), table["label"].to_pylist()]
        if self.dataset.group_columns:
            named = table.select([name for name in self.dataset.group_columns if name in table.column_names])
            described.append(groups_of(self.dataset, {"id": described[0], **named.to_pydict()}))
        holds_content = False
        for name in MODALITIES:
            cells = table[name].combine_chunks() if name in table.column_names else None
            if cells is None:
                continue
            kind = cells.type
            if not pyarrow.types.is_struct(kind) or min(map(kind.get_field_index, ("bytes", "path"))) < 0:
                holds_content = True
                continue
            holds_content |= cells.field("bytes").null_count < len(cells)
            described.append([file_state(path) for path in cells.field("path").to_pylist()])
        # The fingerprint of the rows identifies content that they hold themselves, without reading it all.
        content = (fingerprint(self.rows), start) if holds_content else ()
        return Part(start, self.folder / f"{digest(self.key, content, described)[:32]}.arrow")

    def status(self) -> Status:
        missing = sum(map(self._length, self._missing()))
        return Status(len(self.rows) - missing, len(self.rows))

    def fill(self, workers: int, progress: Progress) -> Generator[Outcome, None, None]:
        missing = self._missing()
        yield from list(self._complete.values())
        # Where nothing is missing nothing is written: the cache may be read-only here.
        if missing:
            for part in missing:
                self._report_damage(part, progress)
            with self._locked(progress):
                yield from self._fill(missing, workers, progress)

    def _fill(self, missing: list[Part], workers: int, progress: Progress) -> Iterator[Outcome]:
        before, missing = missing, self._missing()  # another process may have computed some meanwhile
        yield from [self._complete[part] for part in before if part in self._complete]
        left = sum(map(self._length, missing))
        if 0 < left < len(self.rows):
            progress.line(f"{self.split}: {len(self.rows) - left} samples are stored, {left} are to be computed")
        progress.stage(f"features of the {self.split} split", left)
        if workers and missing:
            for name in self.dataset.libraries:
                importlib.import_module(name)
        outcomes = map_items(self._compute_part, missing, workers, self.source)
        for part, outcome in zip(missing, outcomes, strict=True):
            self._complete[part] = outcome
            progress.advance(outcome.total)
            yield outcome

    def _missing(self) -> list[Part]:
        return [part for part in self.parts if self._outcome(part) is None]

    def _length(self, part: Part) -> int:
        return min(self.part_rows, len(self.rows) - part.start)

    def _compute_part(self, part: Part) -> Outcome:
        return self._compute(part, self.rows[part.start : part.start + self.part_rows])


def transform_settings(dataset: Dataset, config: ExperimentConfig) -> Any:
    """All that a data set's stored arrays depend on beside its rows."""
    key = dataset.transform_key()
    return (config.dataset.model_dump(), config.model.model_dump()) if key is None else dict(key)


def file_state(path: str | None) -> Any:
    """A file's path, size and time; ``#`` separates a container from what it holds."""
    if not path:
        return None
    container = path.rpartition("#")[0]
    for name in (path, container) if container else (path,):  # an empty name would be the working directory
        with contextlib.suppress(OSError, ValueError):
            status = Path(name).stat()
            return path, status.st_size, status.st_mtime_ns
    return path


def digest(*parts: Any) -> str:
    """The hexadecimal SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """``UserError`` if nothing can be written into the folder."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder}: features cannot be stored here ({error.strerror or error}); free space or name another "
            f"folder in SCMRL_CACHE"
        ) from error

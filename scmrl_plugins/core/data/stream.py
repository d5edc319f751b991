"""The feature store of a stream, whose rows are numbered as they arrive."""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.parts import Outcome, Part
from scmrl_plugins.core.data.store import FeatureStore, Status, digest, writing
from scmrl_plugins.core.interfaces import Dataset
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import describe

if TYPE_CHECKING:
    import datasets


class StreamStore(FeatureStore):
    """The features of a stream. Parts that are stored are not read again: the stream resumes behind them."""

    def __init__(
        self, dataset: Dataset, config: ExperimentConfig, split: str, rows: datasets.IterableDataset
    ) -> None:
        super().__init__(dataset, config, split)
        self.rows = rows

    def _parts(self) -> Iterator[Part]:
        for start in itertools.count(0, self.part_rows):
            yield Part(start, self.folder / f"{digest(self.key, self.split, start)[:32]}.arrow")

    def status(self) -> Status:
        stored = 0
        for part in self._parts():
            outcome = self._outcome(part)
            if outcome is None:
                break
            stored += outcome.total
        return Status(stored, None)

    def fill(self, workers: int, progress: Progress) -> Generator[Outcome, None, None]:
        with self._locked(progress):
            progress.stage(f"features of the {self.split} split", None)
            before: Part | None = None
            rows: Iterator[Mapping[str, Any]] | None = None
            for part in self._parts():
                outcome = self._outcome(part)
                if outcome is not None:
                    rows = None
                elif part.end.exists():
                    return
                else:
                    self._report_damage(part, progress)
                    rows = rows or self._rows_behind(before)
                    outcome = self._compute_next(part, rows)
                    if outcome is None:
                        return
                progress.advance(outcome.total)
                yield outcome
                before = part

    def _compute_next(self, part: Part, rows: Iterator[Mapping[str, Any]]) -> Outcome | None:
        """Compute a part from the next rows; none, and its end marked, where there are no more."""
        batch = self._next(rows, part.start)
        if not batch:
            with writing(self.folder):
                files.write_text(part.end, "")
            return None
        columns = {key: [row[key] for row in batch] for key in batch[0]}
        outcome = self._complete[part] = self._compute(part, columns, self._position())
        return outcome

    def _rows_behind(self, part: Part | None) -> Iterator[Mapping[str, Any]]:
        """The rows of the stream after those of a part, or all of them."""
        position = part.position() if part else None
        self.rows.load_state_dict(position)
        return itertools.islice(self.rows, part.start + self.part_rows if part and position is None else 0, None)

    def _next(self, rows: Iterator[Mapping[str, Any]], start: int) -> list[Mapping[str, Any]]:
        try:
            return list(itertools.islice(rows, self.part_rows))
        except UserError:
            raise
        except Exception as error:  # whatever a connection, a file system or a reader of files raises
            raise UserError(
                f"the {self.split} stream broke off after row {start} ({describe(error)}); the same command "
                f"resumes from there"
            ) from error

    def _position(self) -> Any:
        """The stream's position, to resume from; ``None`` if it cannot be written as JSON."""
        position = self.rows.state_dict()
        try:
            json.dumps(position)
        except TypeError:
            return None
        return position

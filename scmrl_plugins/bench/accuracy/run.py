"""The cells of a grid made: each is trained once and tested under every condition; what was stopped resumes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence

import torch

from scmrl_plugins.bench.accuracy import records, tested
from scmrl_plugins.bench.accuracy.baselines.answers import answers
from scmrl_plugins.bench.accuracy.baselines.material import Material
from scmrl_plugins.bench.accuracy.cells import Cell, cells
from scmrl_plugins.bench.accuracy.grid import CLEAN, Grid, GridSection, Method
from scmrl_plugins.bench.accuracy.records import Directory, Record
from scmrl_plugins.core.data.loading import evaluation_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.evaluation.metrics import Predictions
from scmrl_plugins.core.evaluation.predictions import write_predictions
from scmrl_plugins.core.interfaces import Modality
from scmrl_plugins.core.model.assembly import Assembly, assemble
from scmrl_plugins.core.run import environment, series, weights
from scmrl_plugins.core.run.directory import Run, open_run
from scmrl_plugins.core.run.pretrained import file_digest
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.core.training.tokens import TokenCache
from scmrl_plugins.registry import UserError


class BusyError(Exception):
    """Another process makes the cell, or one that it needs."""


class Bench:
    """Makes the cells of a grid in a directory, each after those that it needs.

    ``make`` and ``existing`` raise ``UserError`` for a cell that was made with another configuration, another
    version of the features, or from other networks. Several processes may share the directory, and the cells.
    """

    def __init__(self, grid: Grid, directory: Directory, device: torch.device, progress: Progress) -> None:
        self.grid, self.directory, self.device, self.progress = grid, directory, device, progress
        self.cells = cells(grid)
        self._made: dict[str, Record] = {}

    def make_all(self, names: Sequence[str]) -> None:
        """Make these cells; a mistake in the last of them is reported before the first is trained.

        What another process makes is left to it: only where nothing else remains is it waited for.
        """
        checked: set[tuple[str, str]] = set()
        for cell in map(self.cells.__getitem__, names):
            if (cell.task, cell.row.name) not in checked:
                checked.add((cell.task, cell.row.name))
                assemble(cell.config)
        pending = list(names)
        while pending:
            busy = [name for name in pending if not self._make_unless_busy(name, names)]
            if len(busy) == len(pending):
                self.make(busy[0])
            pending = busy

    def made(self) -> list[tuple[Cell, Record]]:
        """The cells that exist, with their records of the conditions that are up to date."""
        existing = [(cell, self.existing(name)) for name, cell in self.cells.items()]
        return [(cell, record) for cell, record in existing if record is not None and record["conditions"]]

    def make(self, name: str, *, wait: bool = True) -> Record:
        """The record of a cell, which is trained and tested unless that was done before.

        Waits for another process that makes it; without ``wait`` raises ``BusyError``.
        """
        if name not in self._made:
            cell = self.cells[name]
            origins = sorted(set(cell.needs.values()))
            weights_of = {origin: self.make(origin, wait=wait)["weights"] for origin in origins}
            self._made[name] = self._make(cell, weights_of, wait)
        return self._made[name]

    def _make_unless_busy(self, name: str, names: Sequence[str]) -> bool:
        """Whether the cell exists now; otherwise another process makes it."""
        self.progress.line(f"{names.index(name) + 1}/{len(names)}  {name}")
        try:
            self.make(name, wait=False)
        except BusyError as busy:
            self.progress.line(str(busy))
            return False
        return True

    def existing(self, name: str) -> Record | None:
        """The record of a cell, with the conditions that are up to date; none if the cell was not made."""
        cell = self.cells[name]
        if (record := self.directory.read(name)) is None:
            return None
        found = {other: self.directory.read(other) for other in set(cell.needs.values())}
        needed = {other: one["weights"] for other, one in found.items() if one is not None}
        known = {**record["made_with"]["needs"], **needed}
        expected = records.identity(cell, assemble(cell.config), known)
        record = self._checked(cell, record, expected)
        return record and {**record, "conditions": records.current(record, _keys(cell, self.grid.section))}

    def _make(self, cell: Cell, weights_of: Mapping[str, str], wait: bool) -> Record:
        parts = assemble(cell.config)
        expected, keys = records.identity(cell, parts, weights_of), _keys(cell, self.grid.section)

        def complete() -> Record | None:
            record = self._checked(cell, self.directory.read(cell.name), expected)
            return record if record and records.current(record, keys).keys() == keys.keys() else None

        if record := complete():
            return record
        with self._locked(cell, wait):
            if record := complete():  # another process made it meanwhile
                return record
            record = self._computed(cell, parts) if cell.baseline else self._trained(cell)
            described = {"task": cell.task, "method": cell.row.name, "fold": cell.fold, "seed": cell.seed}
            record = {"cell": described, "made_with": expected, **record, "device": str(self.device)}
            return self.directory.write(cell.name, {**record, "environment": environment.describe(parts.config)})

    def _checked(self, cell: Cell, record: Record | None, expected: Record) -> Record | None:
        """The record, if it was made as expected; of a baseline none otherwise, of a network ``UserError``."""
        if record is None or not (reason := records.difference(record, expected)):
            return record
        if cell.baseline:
            return None
        file = self.directory.record_file(cell.name)
        remedy = f"choose another directory with -o, or remove it and {self.directory.run_path(cell.name)}"
        raise UserError(f"{file}: {reason}; {remedy}")

    @contextlib.contextmanager
    def _locked(self, cell: Cell, wait: bool) -> Iterator[None]:
        """No other process makes the cell meanwhile; if one does, wait for it, or raise ``BusyError``."""

        def held() -> None:
            if not wait:
                raise BusyError(f"another process makes {cell.name}")
            self.progress.line(f"another process makes {cell.name}: waiting for it")

        with files.waiting(self.directory.run_path(f"{cell.name}.lock"), held):
            yield

    def run(self, name: str) -> tuple[Run, Assembly]:
        """The trained run of a method's cell, and its parts with the weights; it is trained if it is absent."""
        cell = self.cells[name]
        config, starts = cell.config, {}
        if cell.needs:
            starts = {
                modality: str(self._needed(other)[0].path.resolve()) for modality, other in cell.needs.items()
            }
            assert isinstance(cell.row, Method)
            section, key = cell.row.needed_as
            named = config.section(section).model_copy(update={key: starts})
            config = config.model_copy(update={section: named})
        training = Training(assemble(config), self.device, self.progress, with_contribution=False)
        training.prepare()
        parts = training.parts
        run = series.take_run(self.directory.run_path(name), parts)
        _check_origins(run, starts)
        if any(line.get("split") == "test" for line in run.metrics()[-1:]):
            weights.load_weights(run.weights_file, parts.model)
        else:
            training.fit(run, resume="the same command")
        record = self.directory.read(name)
        if record and record["weights"] != file_digest(run.weights_file):
            raise UserError(
                f"{run.path}: other weights than {self.directory.record_file(name)} was made with (trained on "
                f"another processor, or with other versions?); remove that file to make it again"
            )
        return run, parts

    def _needed(self, name: str) -> tuple[Run, Assembly]:
        """``run`` of a cell that another one needs, which several processes may ask for at once."""
        with self._locked(self.cells[name], wait=True):
            return self.run(name)

    def _trained(self, cell: Cell) -> Record:
        """Train a network and test it under the conditions that have no result yet."""
        run, parts = self.run(cell.name)
        model = parts.model.to(self.device)
        split = load_splits(parts.dataset, parts.config, ["test"])["test"]
        loader = evaluation_loader(split, parts.config)
        keys, seed = _keys(cell, self.grid.section), self.grid.section.noise_seed
        record = self.directory.read(cell.name) or {"conditions": {}}
        conditions = records.current(record, keys)
        measured = {key: record[key] for key in ("costs", "training") if CLEAN in conditions}
        tokens = TokenCache(parts, self.device, self.progress) if parts.config.train.cache_tokens else None
        for condition in cell.conditions:
            if condition.name in conditions:
                continue
            self.progress.stage(f"{cell.name}, {condition.name}", len(loader))
            result = tested.answers(parts, loader, condition, seed, self.device, self.progress, tokens)
            found = tested.figures(result.predictions, self.grid.section.cluster)
            if result.alone_method:
                found["alone_method"] = result.alone_method
            if keys[condition.name]["contribution"]:
                found["contribution"] = tested.contributions(
                    model, split, condition, seed, self.device, self.progress, tokens
                )
            conditions[condition.name] = {"made_with": keys[condition.name], **found}
            self._write_predictions(cell, condition.name, result.predictions)
            if condition.name == CLEAN:
                measured = {
                    "costs": tested.costs(model, loader, result, self.device),
                    "training": _training(run),
                }
        ordered = {condition.name: conditions[condition.name] for condition in cell.conditions}
        digest = file_digest(run.weights_file)
        return {"protocol": parts.config.train.protocol, "weights": digest, "conditions": ordered, **measured}

    def _computed(self, cell: Cell, parts: Assembly) -> Record:
        """A baseline under every condition."""
        assert cell.baseline is not None
        seed = self.grid.section.noise_seed
        network = functools.cache(lambda name: self._needed(name)[1])
        material = Material(cell, parts, network, self.device, seed)
        answer, keys, conditions = answers(cell.baseline, material), _keys(cell, self.grid.section), {}
        for condition in cell.conditions:
            self.progress.stage(f"{cell.name}, {condition.name}", None)
            found = tested.predictions(answer(condition), material.split("test").labels, material.split("test"))
            self._write_predictions(cell, condition.name, found)
            counted = tested.figures(found, self.grid.section.cluster)
            conditions[condition.name] = {"made_with": keys[condition.name], **counted}
        calibrated = {"temperatures": material.temperatures} if cell.needs else {}
        return {"weights": None, "conditions": conditions, **calibrated}

    def _write_predictions(self, cell: Cell, condition: str, predictions: Predictions) -> None:
        path = self.directory.predictions_file(cell.name, condition)
        write_predictions(path, predictions, {"cell": cell.name, "condition": condition, "split": "test"})


def _keys(cell: Cell, section: GridSection) -> dict[str, Record]:
    """By condition, all that its result depends on."""
    measured = () if cell.baseline else section.contribution
    return {
        condition.name: records.condition_key(
            condition, section.noise_seed, condition.name in measured, section.cluster
        )
        for condition in cell.conditions
    }


def _check_origins(run: Run, starts: Mapping[Modality, str]) -> None:
    """``UserError`` if the runs that a run began with have other weights now."""
    environment = files.read_json(run.path / "environment.json")
    began = {**environment.get("pretrained", {}), **environment.get("teachers", {})}
    for modality, start in starts.items():
        if began[modality]["sha256"] != file_digest(open_run(start).weights_file):
            raise UserError(f"{run.path}: began with other weights than {start} has; remove it to train it again")


def _training(run: Run) -> Record:
    """How long a network was trained, and which epoch was the best."""
    lines = run.metrics()
    epochs = [line for line in lines if "epoch" in line]
    return {
        "epochs": len(epochs),
        "best_epoch": lines[-1]["best_epoch"],
        "seconds": round(sum(line["seconds"] for line in epochs), 1),
    }

"""Predictions as they are computed, to a table, to JSON or to a CSV file."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from scmrl_plugins.cli.common import output

if TYPE_CHECKING:
    from scmrl_plugins.core.evaluation.predict import Prediction

SHOWN, BESIDE = 10, 3
"""Classes in the table of one sample, and in a row of the table of several, unless ``--top-k`` says otherwise."""


class Sink(Protocol):
    """Takes one prediction after the other; ``end`` is called after the last one."""

    def add(self, one: Prediction) -> None: ...

    def end(self) -> None: ...


class Document:
    """One sample as the document of ``--json``, and what ``--optimize`` did."""

    def __init__(self, top_k: int | None, optimized: Mapping[str, Any] | None) -> None:
        self.top_k, self.further = top_k, {"optimized": optimized} if optimized else {}

    def add(self, one: Prediction) -> None:
        output.document({"predictions": one.ranked[: self.top_k], **self.further})

    def end(self) -> None: ...


class Lines:
    """A line of JSON for each sample: its name, the times of its window, its predictions.

    The end of a window is ``null`` where that is the end of the file.
    """

    def __init__(self, top_k: int | None) -> None:
        self.top_k = top_k

    def add(self, one: Prediction) -> None:
        window = dict(zip(("start", "end"), one.window or (), strict=False))
        output.line({"name": one.name, **window, "predictions": one.ranked[: self.top_k]})

    def end(self) -> None: ...


class Classes:
    """One sample as a table of its classes."""

    def __init__(self, top_k: int | None) -> None:
        self.top_k = top_k or SHOWN

    def add(self, one: Prediction) -> None:
        rows = [(entry["label"], f"{entry['probability']:.2%}") for entry in one.ranked[: self.top_k]]
        output.table("Prediction", rows, ("label", "probability"))

    def end(self) -> None: ...


class Samples:
    """Several samples as a table, once all are there."""

    def __init__(self, top_k: int | None) -> None:
        self.top_k = top_k or BESIDE
        self.rows: list[list[str]] = []
        self.header = ["name"]

    def add(self, one: Prediction) -> None:
        ranked = one.ranked[: self.top_k]
        times = ["" if seconds is None else f"{seconds:.2f} s" for seconds in one.window or ()]
        if not self.rows:
            self.header += [
                *("start", "end")[: len(times)],
                "label",
                *(f"{n}." for n in range(2, len(ranked) + 1)),
            ]
        self.rows.append([one.name, *times, *(f"{each['label']} {each['probability']:.1%}" for each in ranked)])

    def end(self) -> None:
        if self.rows:
            output.table("Predictions", self.rows, self.header)


class Csv:
    """A row for each sample: ``name``, for windows ``start`` and ``end``, ``label``, ``probability``, and those of
    the next classes as ``label_2``, ``probability_2`` and so on.
    """

    def __init__(self, stream: Any, top_k: int | None) -> None:
        self.writer, self.top_k, self.begun = csv.writer(stream), top_k, False

    def add(self, one: Prediction) -> None:
        ranked = one.ranked[: self.top_k]
        if not self.begun:
            times = ("start", "end") if one.window else ()
            further = [f"{key}_{rank}" for rank in range(2, len(ranked) + 1) for key in ("label", "probability")]
            self.writer.writerow(["name", *times, "label", "probability", *further])
            self.begun = True
        cells = [cell for each in ranked for cell in (each["label"], each["probability"])]
        self.writer.writerow([one.name, *(one.window or ()), *cells])

    def end(self) -> None: ...


@contextlib.contextmanager
def csv_file(path: Path | None, top_k: int | None) -> Iterator[list[Sink]]:
    """A sink for the file, which is there once the block has ended; none without a path."""
    from scmrl_plugins.core.system import files

    if path is None:
        yield []
        return
    files.check_name(path)
    with (
        files.saved(path),
        files.replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        yield [Csv(stream, top_k)]

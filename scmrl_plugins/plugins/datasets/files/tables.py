"""Tables of samples on disk: CSV, JSON lines and Parquet, each row with its position in the file."""

from __future__ import annotations

import csv
import json
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.files.folders import unreadable
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near


@dataclass(frozen=True)
class Row:
    """One row of a table: its cells by column, and its position, ``line 5`` or ``row 4``, counted from 1."""

    table: Path
    position: str
    cells: Mapping[str, Any]

    def bad(self, column: str, reason: str) -> BadFileError:
        """The error of a cell: what is wrong with it, and the remedy."""
        return BadFileError(self.table, f"{self.position}, column {column!r}: {reason}")

    def number(self, column: str) -> float:
        """A cell's number, which may be written as text. ``BadFileError`` for anything else."""
        value = self.cells.get(column)
        if isinstance(value, bool) or value is None or value == "":
            raise self.bad(
                column, "is empty; write a number" if value in (None, "") else "is no number; write one"
            )
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise self.bad(column, f"{str(value)[:40]!r} is no number; write one")
        return number

    def file(self, column: str) -> Path:
        """The file that a cell names, seen from the table's folder. ``BadFileError`` if it cannot be read.

        Its name is in either of Unicode's forms: a Mac may have written the names on disk in the other.
        """
        text = self.text(column)
        for form in (text, *(unicodedata.normalize(each, text) for each in ("NFC", "NFD"))):
            if not unreadable(path := self.table.parent / form):
                return path
        path = self.table.parent / text
        raise BadFileError(path, f"{self.position} of {self.table.name}, column {column!r}: {unreadable(path)}")

    def text(self, column: str, *, number: bool = False) -> str:
        """A cell's text; with ``number`` also a whole number, as text. ``BadFileError`` for anything else."""
        value = self.cells.get(column)
        if number and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        expected = "text or a whole number" if number else "text"
        if value is None or value == "":
            raise self.bad(column, f"is empty; write {expected}")
        if not isinstance(value, str):
            raise self.bad(column, f"{str(value)[:40]} is {type(value).__name__}; write {expected}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.bad(column, f"{value!r} cannot be written in UTF-8; rename it") from None
        return value


@dataclass(frozen=True)
class Columns:
    """The columns of a table: those that it must have, others that are read, and some that stand for others."""

    required: Sequence[str]
    optional: Sequence[str]
    instead: Mapping[str, Sequence[str]]

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that is read."""
        return (*self.required, *self.optional, *self.instead)

    def check(self, path: Path, position: str, header: Sequence[str]) -> None:
        """``UserError`` for a header that lacks a column or has one twice."""
        spared = {name for other, names in self.instead.items() if other in header for name in names}
        for name in self.required:
            if name not in header and name not in spared:
                listed = ", ".join(map(repr, header))[:200]
                raise UserError(f"{path}: {position}: no column {name!r}{near(name, header)}; there are {listed}")
        for name in self.all:
            if header.count(name) > 1:
                raise UserError(f"{path}: {position}: two columns {name!r}; remove or rename one")


def read_table(
    path: Path,
    columns: Sequence[str],
    optional: Sequence[str],
    bad: list[BadFileError],
    instead: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[Row]:
    """The rows of a table: ``.csv`` (a header, see ``separator``), ``.jsonl`` (an object a line) or ``.parquet``.

    Text is UTF-8, with or without a byte order mark; empty lines are passed over. ``Row.cells`` has the columns
    that the table has; a row that cannot be parsed goes to ``bad``. Raises ``UserError`` for a table that is
    missing, cannot be read, or lacks one of ``columns``, except those that a column of ``instead`` stands for.
    """
    readers = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
    if not (read := readers.get(path.suffix.lower())):
        raise UserError(f"{path}: a table of samples ends in {', '.join(readers)}; convert it to one of them")
    if reason := unreadable(path):
        raise BadFileError(path, reason)
    return list(read(path, Columns(columns, optional, instead), bad))


def read_list(path: Path, columns: Sequence[str], mark: str, bad: list[BadFileError]) -> list[Row]:
    """The rows of a text file without a header, whose cells ``mark`` separates, by the names of ``columns``.

    UTF-8, with or without a byte order mark; quotes as in CSV; empty lines are passed over. A row of other than as
    many cells as columns goes to ``bad``. Raises ``UserError`` for a file that cannot be read.
    """
    if reason := unreadable(path):
        raise BadFileError(path, reason)
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=mark, skipinitialspace=True)
            for cells in reader:
                position = f"line {reader.line_num}"
                if len(cells) == len(columns):
                    rows.append(Row(path, position, dict(zip(columns, cells, strict=True))))
                elif any(cell.strip() for cell in cells):
                    expected = mark.join(columns)
                    bad.append(
                        BadFileError(path, f"{position}: has {len(cells)} cells, not {expected}; correct it")
                    )
    except (OSError, ValueError, csv.Error) as error:  # a ValueError is not UTF-8
        raise UserError(f"{path}: cannot be read as a list ({error}); save it as text in UTF-8") from error
    return rows


def separator(header: str) -> str:
    """What separates the columns of a CSV file with this first line: a semicolon or a tab if there is no comma."""
    return next((mark for mark in (",", ";", "\t") if mark in header), ",")


def _csv(path: Path, columns: Columns, bad: list[BadFileError]) -> Iterator[Row]:
    header: list[str] = []
    end = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            mark = separator(next((line for line in file if line.strip()), ""))
            file.seek(0)
            reader = csv.reader(file, delimiter=mark, strict=True, skipinitialspace=True)
            for cells in reader:
                line, end = end + 1, reader.line_num
                if not any(cell.strip() for cell in cells):
                    continue
                if not header:
                    header = [cell.strip() for cell in cells]
                    columns.check(path, f"line {line}", header)
                elif len(cells) == len(header):
                    yield Row(path, f"line {line}", dict(zip(header, cells, strict=True)))
                else:
                    bad.append(
                        BadFileError(
                            path,
                            f"line {line}: {len(cells)} cells under {len(header)} columns; write one a column, "
                            f"with quotes around {mark!r}",
                        )
                    )
    except (OSError, ValueError, csv.Error) as error:  # a ValueError is not UTF-8
        raise UserError(
            f"{path}: after line {end}: cannot be read as CSV ({error}); save it as CSV in UTF-8"
        ) from error
    if not header:
        raise UserError(f"{path}: is empty; write a line with {', '.join(columns.required)} and a line a sample")


def _json_lines(path: Path, columns: Columns, bad: list[BadFileError]) -> Iterator[Row]:
    position = "line 1"
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, text in enumerate(file, 1):
                position = f"line {number}"
                if not text.strip():
                    continue
                try:
                    cells = json.loads(text)
                except (ValueError, RecursionError) as error:
                    bad.append(BadFileError(path, f"{position}: not JSON ({error}); write one object a line"))
                    continue
                if isinstance(cells, dict):
                    yield Row(path, position, cells)
                else:
                    bad.append(
                        BadFileError(
                            path, f"{position}: not a JSON object; write one, with {columns.required[0]!r}"
                        )
                    )
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: after {position}: cannot be read as text ({error}); save it in UTF-8") from error


def _parquet(path: Path, columns: Columns, bad: list[BadFileError]) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            header = file.schema_arrow.names
            columns.check(path, "its schema", header)
            rows = file.read([name for name in columns.all if name in header]).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error}); write it again") from error
    for number, cells in enumerate(rows, 1):
        yield Row(path, f"row {number}", cells)

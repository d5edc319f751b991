"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import click

from scmrl_plugins.core.system import jsonable

STDOUT = "scmrl_plugins.stdout"
"""Where the context keeps standard output while ``--json`` lets nobody else write there."""


@contextlib.contextmanager
def reserved() -> Iterator[TextIO]:
    """Standard output for one document alone; what anything else prints meanwhile goes to standard error.

    That holds for libraries in C and for child processes too, where standard output is a file or a pipe.
    """
    original = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        try:
            number, elsewhere = original.fileno(), sys.stderr.fileno()
        except (OSError, ValueError):  # replaced by an object of Python's, as a test does
            yield original
            return
        original.flush()
        kept = os.dup(number)
        os.dup2(elsewhere, number)
        try:
            with open(kept, "w", encoding=original.encoding, closefd=False) as document:
                yield document
        finally:
            os.dup2(kept, number)
            os.close(kept)


def document(value: Any) -> None:
    """The one JSON document of ``--json``."""
    click.echo(jsonable.dumps(value, indent=2), file=click.get_current_context().meta.get(STDOUT))


def table(title: str, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> None:
    """A table on standard output; drawn with rules on a terminal, plain columns of any width elsewhere."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = 10_000  # a path that is broken over lines is no path to whom reads this
    drawn = Table(title=title, title_justify="left", show_header=bool(header), box=_box(console.is_terminal))
    for column in header or [""] * max((len(row) for row in rows), default=1):
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn, highlight=False)


def _box(terminal: bool) -> Any:
    from rich import box

    return box.ROUNDED if terminal else box.SIMPLE


def kinds(chosen: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows of the chosen components."""
    return [(kind, ", ".join(name) if isinstance(name, list) else name) for kind, name in chosen.items()]

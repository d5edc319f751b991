"""Output of the commands: tables on a terminal, or one JSON document."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import click

from scmrl_plugins.registry.errors import printable

STDOUT = "scmrl_plugins.stdout"
"""The key in the context's ``meta`` of the stream that ``--json`` reserves for its document."""


@contextlib.contextmanager
def reserved() -> Iterator[TextIO]:
    """Reserve standard output for one document and redirect all other output to standard error.

    The redirection includes C libraries and child processes if standard output is a file or a pipe.
    """
    original = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        try:
            number, stderr = original.fileno(), sys.stderr.fileno()
        except (OSError, ValueError):  # not a file, for example under a test runner
            yield original
            return
        original.flush()
        saved = os.dup(number)
        os.dup2(stderr, number)
        try:
            with open(saved, "w", encoding=original.encoding, closefd=False) as document:
                yield document
        finally:
            os.dup2(saved, number)
            os.close(saved)


def document(value: Any) -> None:
    """Print the JSON document of ``--json``."""
    from scmrl_plugins.core.system import files

    click.echo(files.to_json(value, indent=2), file=click.get_current_context().meta.get(STDOUT))


def line(value: Any) -> None:
    """Print a line of JSON, of several that ``--json`` prints."""
    from scmrl_plugins.core.system import files

    click.echo(files.to_json(value), file=click.get_current_context().meta.get(STDOUT))


def table(title: str, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print a table: with rules on a terminal, otherwise in plain columns of any width."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def shown(cell: str) -> Text:
        """A cell as it is: neither markup nor control sequences, which names out of a received run may hold."""
        return Text("\n".join(map(printable, cell.splitlines())))

    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = 10_000  # wrapped paths would be useless to a program
    style: Any = {"title_justify": "left", "show_header": bool(header), "box": _box(console.is_terminal)}
    drawn = Table(title=shown(title), **style)
    for column in header or [""] * max((len(row) for row in rows), default=1):
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*map(shown, row))
    console.print(drawn, highlight=False)


def _box(terminal: bool) -> Any:
    from rich import box

    return box.ROUNDED if terminal else box.SIMPLE


def kinds(chosen: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Table rows of the chosen components."""
    return [(kind, ", ".join(name) if isinstance(name, list) else name) for kind, name in chosen.items()]

"""Completion by the shell: components, data sets, runs and files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from scmrl_plugins.registry import catalogue
from scmrl_plugins.registry.kinds import TABLE

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_DEEPEST, _MOST = 3, 2000
"""How many folders below the typed one are searched for runs, and how many files and folders at most."""


def components(*kinds: str) -> Complete:
    """Complete the names of components of some kinds, with their summaries; of all kinds if none is given."""

    def complete(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
        known = catalogue()
        entries = [entry for entry in known.entries if entry.kind in (kinds or TABLE)]
        summaries = {name: entry.summary for entry in entries for name in (entry.qualified, entry.name)}
        names = [name for kind in kinds or TABLE for name in known.names(kind) if name.startswith(typed)]
        return [CompletionItem(name, help=summaries[name]) for name in names]

    return complete


def runs(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Complete paths of runs, found in the folder typed so far and below; of any folders if there is none."""
    folder = typed.rpartition("/")[0] + "/" if "/" in typed else ""
    found = [path for path in _below(folder, iter(range(_MOST)), _DEEPEST) if path.startswith(typed)]
    return [CompletionItem(path) for path in sorted(found)] or [CompletionItem(typed, type="dir")]


def _below(folder: str, left: Iterator[int], depth: int) -> Iterator[str]:
    """Runs below a folder, not those inside of another run."""
    try:
        entries = list(os.scandir(folder or "."))
    except OSError:
        return
    for entry in entries:
        if next(left, None) is None:
            return
        path = f"{folder}{entry.name}"
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        if Path(path, "config.toml").is_file():
            yield path
        elif depth:
            yield from _below(f"{path}/", left, depth - 1)


def files(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Complete names of files."""
    return [CompletionItem(typed, type="file")]


def folders(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Complete names of folders."""
    return [CompletionItem(typed, type="dir")]

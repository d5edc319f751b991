"""Completion by the shell: its installation, and what it completes: components, data sets, runs and files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from scmrl_plugins.registry import UserError, catalogue
from scmrl_plugins.registry.kinds import TABLE

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_DEEPEST, _MOST = 3, 2000
"""How many folders below the typed one are searched for runs, and how many files and folders at most."""


SHELLS = ("bash", "zsh", "fish")
_STARTED = "(( $+functions[compdef] )) || { autoload -Uz compinit; compinit }\n"
"""For zsh: completion itself, where the user's own settings do not start it."""


def install(ctx: click.Context, _param: click.Parameter, shell: str | None) -> None:
    """Install completion in a shell, ``""`` for the user's, print where, and exit.

    The script is a file of its own. fish looks for it there; for bash and zsh a line is added, once, to the file
    that they read when they start. Raises ``UserError`` for a shell that is none of ``SHELLS``.
    """
    if shell is None or ctx.resilient_parsing:
        return
    import shlex  # here, as every command imports this module

    from scmrl_plugins.core.system.files import write_text

    shell = shell or Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise UserError(f"no completion for shell {shell!r}; name one: --install-completion bash, zsh or fish")
    made = get_completion_class(shell)
    assert made is not None
    text = made(ctx.command, {}, "scmrl", "_SCMRL_COMPLETE").source()
    script, start = _files(shell)
    write_text(script, text if shell != "zsh" else _STARTED + text)
    if start is not None:
        _add_line(start, f"source {shlex.quote(str(script))}")
    click.echo(f"completion for {shell}: {script}; open a new shell to use it")
    ctx.exit()


def _files(shell: str) -> tuple[Path, Path | None]:
    """The script, and the file that a shell reads when it starts if that has to name the script."""
    home, get = Path.home(), os.environ.get
    if shell == "fish":
        return Path(get("XDG_CONFIG_HOME") or home / ".config") / "fish" / "completions" / "scmrl.fish", None
    start = home / ".bashrc" if shell == "bash" else Path(get("ZDOTDIR") or home) / ".zshrc"
    return Path(get("XDG_DATA_HOME") or home / ".local" / "share") / "scmrl" / f"completion.{shell}", start


def _add_line(path: Path, line: str) -> None:
    """Append a line to a file of the user's, with an empty one before it, unless it is there."""
    present, added = path.read_bytes() if path.exists() else b"", os.fsencode(line)
    if added not in present.splitlines():
        path.parent.mkdir(parents=True, exist_ok=True)
        before = b"" if not present else b"\n" if present.endswith(b"\n") else b"\n\n"
        with path.open("ab") as file:
            file.write(before + added + b"\n")


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

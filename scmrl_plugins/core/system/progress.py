"""Progress on standard error: a live bar on a terminal, and lines that stay."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from scmrl_plugins.registry.errors import printable


class _Console(Console):
    """Leaves it to ``Progress`` what happens when nobody reads, instead of ending the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Progress:
    """``with Progress() as p: p.stage("epoch 1/9", steps); p.advance(loss=0.3); p.line("done")``."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _Console(stderr=True)
        self._live = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task: Any = None

    @classmethod
    def silent(cls) -> Progress:
        """A progress that prints nothing."""
        return cls(Console(quiet=True))

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.__exit__(kind, error, trace)

    def stage(self, description: str, total: int | None) -> None:
        """Begin a stage of ``total`` steps, none if unknown; it replaces the previous stage."""
        if self._task is not None:
            self._live.remove_task(self._task)
        self._task = self._live.add_task(description, total=total, figures="")

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Advance by some steps, and show figures such as ``loss=0.31``."""
        text = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        self._live.update(self._task, advance=steps, figures=text)

    def line(self, text: str) -> None:
        """Print a line that stays. Once nobody reads them, or their file is full, the work continues without."""
        try:
            self.console.print(printable(text), highlight=False, markup=False, soft_wrap=True)
        except OSError:
            self.console.quiet = True

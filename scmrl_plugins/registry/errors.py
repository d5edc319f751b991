"""The exception for errors that a user can fix, and the hint for a near match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix: an option, a configuration, a data file, a plugin.

    The message is one line with the subject, its location and the remedy. The command line prints it as
    ``Error: ...`` and exits with status 2.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


def describe(error: BaseException) -> str:
    """``Type: message`` on one line, even for an error whose ``__str__`` fails."""
    try:
        message = " ".join(str(error).split())
    except Exception:
        message = ""
    return f"{type(error).__name__}: {message}".rstrip(": ")


def shortened(text: str, longest: int) -> str:
    """``text``; of what is longer than ``longest`` the middle is left out."""
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-(longest // 2) :]}"


def printable(text: str, longest: int = 2000) -> str:
    """``text`` for a terminal, ``shortened``: what is not printable, such as control sequences, is escaped."""
    text = shortened(text, longest)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def near(name: str, candidates: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` with the candidate closest to ``name``; an empty string if none is close."""
    lowered = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower()[:200], lowered, n=1, cutoff=0.6)
    return f" (did you mean {lowered[close[0]]!r}?)" if close else ""

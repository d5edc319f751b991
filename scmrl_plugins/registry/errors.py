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


def near(name: str, candidates: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` with the candidates closest to ``name``, or an empty string."""
    lowered = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
    if not close:
        return ""
    return f" (did you mean {' or '.join(repr(lowered[match]) for match in close)}?)"

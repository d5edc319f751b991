"""The one exception for what a user can mend, and the words for a near match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: an option, a configuration, a data file, a plugin.

    The message is one line that names the thing, the place and the remedy. The command line prints it as
    ``Error: ...`` and exits with 2.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


def describe(error: BaseException) -> str:
    """``Type: message`` in one line, for an error of anybody's, even one that cannot be put into words."""
    try:
        message = " ".join(str(error).split())
    except Exception:
        message = ""
    return f"{type(error).__name__}: {message}".rstrip(": ")


def near(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the known names closest to ``name``, or an empty string."""
    lowered = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
    if not close:
        return ""
    return f" (did you mean {' or '.join(repr(lowered[match]) for match in close)}?)"

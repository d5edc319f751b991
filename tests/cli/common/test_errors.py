"""Errors of the operating system are a line with what helps."""

from __future__ import annotations

import errno
import os

import pytest

from scmrl_plugins.cli.common import errors


@pytest.mark.parametrize(
    ("number", "path", "line"),
    [
        (errno.EACCES, "a.toml", "a.toml: Permission denied; change its permissions, or use another path"),
        (errno.ENOSPC, None, "system: No space left on device; free space where files or the output go"),
        (errno.EMFILE, "a", "a: Too many open files; allow more open files with ulimit -n"),
        (errno.EIO, "a", "a: Input/output error"),
    ],
)
def test_an_error_of_the_system_has_a_remedy(number: int, path: str | None, line: str) -> None:
    assert errors.explain(OSError(number, os.strerror(number), path)) == line

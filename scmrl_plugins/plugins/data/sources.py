"""The bytes of a recording or an image, whether they lie in a row or in a file."""

from __future__ import annotations

from pathlib import Path

from scmrl_plugins.registry import UserError


def read_bytes(source: bytes | Path, name: str | Path) -> bytes:
    """``source`` itself, or what its file holds; ``UserError``, naming ``name``, for one that cannot be read."""
    try:
        return source.read_bytes() if isinstance(source, Path) else source
    except OSError as error:
        raise UserError(
            f"{name}: cannot be read ({error.strerror or error}); check the path and its permissions"
        ) from error

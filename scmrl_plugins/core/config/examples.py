"""The examples and grids of the project, named ``scmrl:small_cpu`` wherever a TOML file is read.

In a checkout they are its ``examples`` and ``benchmarks/grids``; a wheel has copies of both in ``shipped``.
"""

from __future__ import annotations

import re
from pathlib import Path

from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

PREFIX = "scmrl:"

PACKAGE = Path(__file__).parents[2]

_FOLDERS = {"": "examples", "grids/": "benchmarks/grids"}
"""Where the files are, by what their names begin with."""


def listed() -> dict[str, Path]:
    """Every example by its name, such as ``fusion/late`` and ``grids/digits``, in the order of the names."""
    bases = (PACKAGE / "shipped", PACKAGE.parent)
    base = next((folder for folder in bases if (folder / "examples").is_dir()), None)
    if base is None:
        return {}
    return {
        f"{prefix}{path.relative_to(base / folder).with_suffix('').as_posix()}": path
        for prefix, folder in _FOLDERS.items()
        for path in sorted((base / folder).rglob("*.toml"))
        if path.name != "pyproject.toml"
    }


def path_of(name: str) -> Path:
    """The file of an example; ``UserError`` for an unknown name."""
    every = listed()
    if name not in every:
        raise UserError(f"{PREFIX}{name}: no such example{near(name, every) or '; scmrl examples lists them'}")
    return every[name]


def summary(path: Path) -> str:
    """The first sentence of the comment that a file begins with."""
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return re.split(r"(?<=[.?])\s|:  ", " ".join(comment))[0]

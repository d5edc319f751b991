"""A folder of installed distributions, as pip leaves them, for tests to be found by discovery."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

GOOD = """
from scmrl_plugins import hookimpl

@hookimpl
def scmrl_register(register):
    register("fusion", "{name}", "{module}_model:Thing", "does a thing")
"""
GOOD_MODEL = """
from scmrl_plugins.core.interfaces import ComponentConfig

class Thing:
    class Config(ComponentConfig):
        pass
"""


class PluginSite:
    """``add`` writes modules and a ``.dist-info``; the folder belongs on ``sys.path``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(
        self, distribution: str, points: Mapping[str, str] | str, version: str = "1.0", **modules: str
    ) -> None:
        """Install ``distribution`` with the given entry points (or the text of the file) and module sources."""
        for name, source in modules.items():
            (self.folder / f"{name}.py").write_text(dedent(source), encoding="utf-8")
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        if not isinstance(points, str):
            points = "[scmrl]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(points)
        importlib.invalidate_caches()

    def add_good(self, name: str = "good") -> None:
        """A plugin ``name`` of distribution ``scmrl-name`` that registers the fusion ``name``."""
        module = f"scmrl_{name}"
        sources = {module: GOOD.format(name=name, module=module), f"{module}_model": GOOD_MODEL}
        self.add(f"scmrl-{name}", {name: module}, **sources)

    def forget(self) -> None:
        """Take the modules that came from here out of ``sys.modules``."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(self.folder)):
                del sys.modules[name]
        for path in self.folder.glob("*.py"):
            sys.modules.pop(path.stem, None)
        importlib.invalidate_caches()

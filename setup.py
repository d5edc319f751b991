"""Adds the examples and the grids of benchmarks to wheels; all else is in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("examples", "benchmarks/grids")


class BuildWithExamples(build_py):
    """Copies the folders beside the package into it; an editable installation reads them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for folder in SHIPPED:
                target = Path(self.build_lib, "scmrl_plugins", "shipped", folder)
                unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "runs")
                shutil.copytree(folder, target, dirs_exist_ok=True, ignore=unwanted)


setup(cmdclass={"build_py": BuildWithExamples})

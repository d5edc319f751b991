"""A virtual environment of a test's own, which sees everything that is installed beside this Python."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from cli_runs import fork_pytest, fork_python, fork_scmrl

# Build with the setuptools that is here, so that no test waits for a download; pip reads "no" as "no isolation".
BUILD_HERE = {"PIP_NO_BUILD_ISOLATION": "no", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
TOOLS = {"pip": "pip", "scmrl": "scmrl_plugins", "pytest": "pytest"}


class TemporaryEnvironment:
    """``run`` a shell line in it; what pip installs there is seen there alone."""

    def __init__(self, folder: Path, **environment: str) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        scripts = folder / "bin"
        (self.site,) = folder.glob("lib/python*/site-packages")
        places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.site / "surroundings.pth").write_text(
            "".join(f"import site; site.addsitedir({p!r})\n" for p in places)
        )
        for name, module in TOOLS.items():
            tool = scripts / name
            tool.write_text(f'#!/bin/sh\nexec "{scripts}/python" -m {module} "$@"\n')
            tool.chmod(0o755)
        inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        self.environment = {
            **inherited,
            **BUILD_HERE,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            **environment,
        }

    def fork(self, *words: str, cwd: Path, code: int = 0) -> str:
        """What ``scmrl``, ``pytest`` or ``python -c`` print in a fork that sees what is installed there."""
        tool, *arguments = words
        function = {"scmrl": fork_scmrl, "pytest": fork_pytest, "python": fork_python}[tool]
        done = function(*arguments, cwd=cwd, **self.environment, PYTHONPATH=str(self.site))
        assert done.code == code, f"{words}: {done.code}\n{done.out}\n{done.err}"
        return done.out if code == 0 else done.err

    def run(self, line: str, cwd: Path, code: int = 0) -> str:
        """What a line of shell prints on standard output; its exit code must be ``code``."""
        done = subprocess.run(
            ["sh", "-euc", line], cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == code, f"{line}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr


assert sys.platform != "win32", "the scripts are for a POSIX shell"

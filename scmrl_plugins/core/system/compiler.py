"""The folder in which torch keeps what it compiles."""

from __future__ import annotations

import atexit
import getpass
import os
import re
import shutil
import tempfile
from pathlib import Path

FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""Environment variable of torch, which fails on import where it cannot write to the folder named."""


def writable_cache() -> str:
    """Make torch use a temporary folder if it cannot write to its own; a warning in that case, else empty."""
    folder = Path(os.environ.get(FOLDER) or _default())
    try:
        if FOLDER in os.environ:
            folder.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        os.environ[FOLDER] = temporary = tempfile.mkdtemp(prefix="scmrl-compiler-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return (
            f"{folder}: compiled kernels cannot be kept here ({error.strerror or error}) and are compiled anew; "
            f"name another folder in {FOLDER}"
        )
    return ""


def _default() -> str:
    """The folder of torch where the variable is not set."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no name for this number
        user = f"uid_{os.getuid()}"
    name = re.sub(r'[\\/:*?"<>|]', "_", user)
    return str(Path(tempfile.gettempdir()) / f"torchinductor_{name}")

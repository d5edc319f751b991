"""The C++ of this package as libraries of functions, compiled for this machine where they are first needed."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.system.private import is_profiled
from scmrl_plugins.plugins.kernels.compiled import warn_once

# No multiply-add is fused, so that each operation rounds as it does in torch.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-std=c++17")
SECONDS = 120
TYPES = {torch.float32: "float", torch.float64: "double"}


@functools.cache
def library(source: Path, dtype: torch.dtype) -> ctypes.CDLL | None:
    """The functions of a C++ file for numbers of a type, there ``Real``, which takes half the time of two types.

    ``None``, with a single warning, if it cannot be compiled or loaded. Compiled by ``CXX``, else ``g++`` or
    ``clang++``, and kept in ``~/.cache/scmrl/kernels``. torch's own way to compile a file takes seconds to import.
    """
    try:
        return _load(source, dtype)
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        warn_once(error)
        return None


def _load(source: Path, dtype: torch.dtype) -> ctypes.CDLL:
    compiler = [*_compiler(), f"-DReal={TYPES[dtype]}"]
    text = source.read_bytes()
    key = hashlib.sha256(repr((text, FLAGS, compiler, platform.platform(), _processor())).encode()).hexdigest()
    built = Path.home() / ".cache" / "scmrl" / "kernels" / f"{source.stem}-{key[:24]}.so"
    if built.exists():
        return ctypes.CDLL(str(built))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / built.name
        _compile(compiler, source, made)
        with contextlib.suppress(OSError):  # a home may be read-only
            built.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copy(made, built.with_suffix(f".{secrets.token_hex(4)}"))
            Path(copy).replace(built)  # at once, for processes that start beside this one
        return ctypes.CDLL(str(made))


def _compiler() -> list[str]:
    named = shlex.split(os.environ.get("CXX", ""))
    known = ("clang++", "g++") if sys.platform == "darwin" else ("g++", "clang++")
    found = [path for name in (named[:1] or known) if (path := shutil.which(name))]
    if not found:
        raise RuntimeError(f"no C++ compiler: {' or '.join(named[:1] or known)} is not installed")
    return [found[0], *named[1:]]


def _compile(compiler: list[str], source: Path, to: Path) -> None:
    command = [*compiler, *FLAGS, "-shared", "-fPIC", str(source), "-o", str(to)]
    # Not every compiler has OpenMP; without it the functions run on one thread.
    for threads in (["-fopenmp"], []):
        done = subprocess.run([*command, *threads], capture_output=True, text=True, timeout=SECONDS)
        if done.returncode == 0:
            return
    raise RuntimeError(f"{compiler[0]} failed: {(done.stderr.strip() or 'no message').splitlines()[0]}")


def _processor() -> str:
    """What ``-march=native`` depends on: a home directory may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def call(source: Path, dtype: torch.dtype, name: str, *args: Any, result: Any = None) -> Any:
    """Call a function of a file that compiles: tensors as pointers, integers as long, structures by reference.

    None is a null pointer. ``result``: the type of what it returns.
    """
    functions = library(source, dtype)
    assert functions is not None
    function = functions[name]
    function.restype = result
    # A record costs as much as a small tensor's pass.
    record = torch.profiler.record_function(f"scmrl::{name}") if is_profiled() else contextlib.nullcontext()
    with record:
        return function(*map(_argument, args))


def _argument(value: Any) -> Any:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, ctypes.Structure):
        return ctypes.byref(value)
    return ctypes.c_long(value) if isinstance(value, int) else value

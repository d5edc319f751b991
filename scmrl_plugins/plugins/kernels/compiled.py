"""Work on large tensors in code that a compiler makes here, where that pays and a compiler is there."""

from __future__ import annotations

import ctypes
import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.system.private import compile_cpp, operations_intercepted
from scmrl_plugins.registry import UserError

# Below this many elements a function runs op by op: a few milliseconds a call do not earn back the seconds that
# compiling takes.
ELEMENTS = 1 << 19
# On a GPU the compiler would contract a product and a sum into one operation and divide approximately.
AS_OP_BY_OP: dict[str, Any] = {"emulate_precision_casts": True, "eager_numerics.division_rounding": True}
POLICIES = ("auto", "always", "never")

_broken = _said = False


class Compiled:
    """``function(*args)`` as one loop over memory, which a profile shows as ``name``.

    The compiler keeps the order of a number's operations, so that comparisons have the same result to the bit; a
    transcendental function may differ in its last one. ``SCMRL_COMPILE`` is ``auto`` (by size, the default),
    ``always`` or ``never``. Without a working compiler everything runs op by op, and a warning says so once.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def __call__(self, key: Any, *args: Any) -> Any:
        """The compiled function, one for each ``key``: what its arguments are beside the sizes of tensors."""
        global _broken
        if key not in self._compiled:
            self._compiled[key] = _compile(self.function)
        try:
            with torch.profiler.record_function(self.name):
                return self._compiled[key](*args)
        except Exception as error:
            # Compilers fail in every way; what is the arguments' fault is raised again below, op by op.
            _broken = True
            _say(error)
            return self.function(*args)


@functools.cache
def library(source: Path) -> ctypes.CDLL | None:
    """The functions of a C++ file, compiled for this machine and kept on disk where torch keeps what it compiles.

    None without a compiler that can, of which a warning is given once.
    """
    try:
        return compile_cpp(source.read_text(encoding="utf-8"))
    except Exception as error:  # as above: a compiler, its headers, its cache or what it made may be at fault
        _say(error)
        return None


def _say(error: Exception) -> None:
    global _said
    if _said:
        return
    _said = True
    reason = str(error).strip().splitlines()
    warnings.warn(
        "neurons or convolutions run without a compiled kernel, several times slower where tensors are large, as "
        f"the compiler failed: {reason[0] if reason else type(error).__name__}",
        stacklevel=3,
    )


def worth(x: Tensor, pays: bool = True) -> bool:
    """Whether work on ``x`` is compiled: where it ``pays`` and x is large, unless the policy says otherwise."""
    policy = os.environ.get("SCMRL_COMPILE", "auto")
    if policy not in POLICIES:
        raise UserError(f"SCMRL_COMPILE = {policy!r}: it is one of {', '.join(POLICIES)}")
    return (
        policy != "never"
        and not _broken
        and (policy == "always" or (pays and x.numel() >= ELEMENTS))
        and x.device.type in ("cpu", "cuda")
        # In half precision the compiler rounds once, and op by op each operation does.
        and x.dtype in (torch.float32, torch.float64)
        # Inside another compilation, or where operations are counted, each operation is to be seen.
        and not torch.compiler.is_compiling()
        and not operations_intercepted()
    )


def _compile(function: Any) -> Callable[..., Any]:
    # Of its own code object: dynamo counts recompilations by it and gives up after eight.
    own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    return torch.compile(own, dynamic=True, fullgraph=True, options=AS_OP_BY_OP)

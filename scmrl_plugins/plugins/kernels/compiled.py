"""Just-in-time compilation of functions on large tensors, with a fallback if there is no compiler."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.system.private import operations_intercepted
from scmrl_plugins.registry import UserError

# Smaller tensors are processed op by op: a few milliseconds per call do not recover the seconds of compilation.
ELEMENTS = 1 << 19
# Without these options, the compiler would fuse multiply-adds and approximate divisions on a GPU.
AS_OP_BY_OP: dict[str, Any] = {"emulate_precision_casts": True, "eager_numerics.division_rounding": True}
POLICIES = ("auto", "always", "never")

_broken = _warned = False


class Compiled:
    """``function(*args)`` as one loop over memory, shown as ``name`` in profiles.

    The compiler keeps the order of operations, so that comparisons give bit-identical results; transcendental
    functions may differ in the last bit. ``SCMRL_COMPILE`` is ``auto`` (by size, the default),
    ``always`` or ``never``. Without a working compiler, everything runs op by op, with a single warning.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def __call__(self, key: Any, *args: Any) -> Any:
        """Call the compiled function for ``key``, which describes the arguments except for tensor sizes."""
        global _broken
        if key not in self._compiled:
            self._compiled[key] = _compile(self.function)
        try:
            with torch.profiler.record_function(self.name):
                return self._compiled[key](*args)
        except Exception as error:
            # Compilers raise any error. An error caused by the arguments is raised again by the call below.
            _broken = True
            warn_once(error)
            return self.function(*args)


def warn_once(error: Exception) -> None:
    """Warn that compiling failed, once in a process."""
    global _warned
    if _warned:
        return
    _warned = True
    reason = str(error).strip().splitlines()
    warnings.warn(
        "neurons or convolutions run without a compiled kernel, several times slower on large tensors, because "
        f"the compiler failed: {reason[0] if reason else type(error).__name__}",
        stacklevel=3,
    )


def worth(x: Tensor, pays: bool = True, least: int = ELEMENTS) -> bool:
    """Whether work on ``x`` is compiled: by default if it ``pays`` and x has ``least`` elements.

    ``SCMRL_COMPILE`` may be ``always`` or ``never``.
    """
    policy = os.environ.get("SCMRL_COMPILE", "auto")
    if policy not in POLICIES:
        raise UserError(f"SCMRL_COMPILE = {policy!r}: expected one of {', '.join(POLICIES)}")
    return (
        policy != "never"
        and not _broken
        # Other compilations and operation counters must see each operation.
        and not torch.compiler.is_compiling()
        and not operations_intercepted()
        and (policy == "always" or (pays and x.numel() >= least))
        and x.device.type in ("cpu", "cuda")
        # In half precision, compiled code rounds once instead of after every operation.
        and x.dtype in (torch.float32, torch.float64)
    )


def _compile(function: Any) -> Callable[..., Any]:
    # With a separate code object: dynamo counts recompilations per code object and gives up after eight.
    copy = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    return torch.compile(copy, dynamic=True, fullgraph=True, options=AS_OP_BY_OP)

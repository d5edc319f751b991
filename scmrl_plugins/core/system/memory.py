"""Memory in use and available: of a GPU, or of this process on the CPU."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_CGROUP = Path("/sys/fs/cgroup")


_MESSAGES = ("allocate memory", "out of memory", "could not create a primitive", "could not execute a primitive")
"""Errors of torch on the CPU, of GPU libraries, and of oneDNN, whose convolutions allocate memory too."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory could not be allocated; some libraries tell only by the message."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _MESSAGES)


def held(device: torch.device) -> int | None:
    """Bytes in use, after unused memory is released; none if the system does not report them."""
    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.memory_allocated(device)
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS") if device.type == "cpu" else None


def peak(work: Callable[[], Any], device: torch.device) -> int | None:
    """The peak of bytes in use while ``work()`` runs; none if the system does not report it."""
    import torch

    held(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    except OSError:
        work()
        return None
    work()
    return _status("VmHWM") if device.type == "cpu" else None


def free(device: torch.device) -> int | None:
    """Bytes available: on a GPU, or within the limits of the system, the container and this process."""
    import psutil
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    limits = [psutil.virtual_memory().available]
    with contextlib.suppress(OSError, ValueError):  # not in a container, or without a limit
        limits.append(int((_CGROUP / "memory.max").read_text()) - int((_CGROUP / "memory.current").read_text()))
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            limits.append(limit - psutil.Process(os.getpid()).memory_info().vms)
    return max(0, min(limits))


def _status(key: str) -> int | None:
    """A line of ``/proc/self/status`` in bytes; none if there is no such line."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return None


def format_bytes(size: float | None) -> str:
    """``1.5 GiB``, ``300 MiB``, ``0.5 MiB``, or ``unknown``."""
    if size is None:
        return "unknown"
    if size >= 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.{0 if size >= 2**24 else 1}f} MiB"

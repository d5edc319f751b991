"""How much memory there is and how much work takes: of a device, or of this process where that is the CPU."""

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


_SAID = ("allocate memory", "out of memory", "could not create a primitive", "could not execute a primitive")
"""By torch on the CPU, by GPU libraries, and by oneDNN, whose convolutions want memory of their own."""


def out_of_memory(error: BaseException) -> bool:
    """Whether torch, or Python, could not get the memory; some libraries say so in words alone."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID)


def held(device: torch.device) -> int | None:
    """Bytes in use, after what is free was given back; none where the system does not tell."""
    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.memory_allocated(device)
    with contextlib.suppress(AttributeError, OSError):  # glibc's own
        ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS") if device.type == "cpu" else None


def peak(work: Callable[[], Any], device: torch.device) -> int | None:
    """The most bytes in use while ``work()`` ran; none where the system does not tell."""
    import torch

    held(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    except OSError:
        work()
        return None
    work()
    return _status("VmHWM") if device.type == "cpu" else None


def free(device: torch.device) -> int | None:
    """Bytes that can still be had: of a GPU, or under the limits of this process and its container."""
    import psutil
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    limits = [psutil.virtual_memory().available]
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        limits.append(int((_CGROUP / "memory.max").read_text()) - int((_CGROUP / "memory.current").read_text()))
    with contextlib.suppress(ImportError):  # no such limits on Windows
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            limits.append(most - psutil.Process(os.getpid()).memory_info().vms)
    return max(0, min(limits))


def _status(key: str) -> int | None:
    """A line of ``/proc/self/status``, in bytes; none where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return None


def shown(size: float) -> str:
    """1.5 GiB, 300 MiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"

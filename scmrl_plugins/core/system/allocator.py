"""How memory for large tensors is allocated; set before torch allocates the first."""

from __future__ import annotations

import ctypes
import os
import platform

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Environment variable of torch, read on import: allocate tensors of at least 2 MB in pages of 2 MB (Linux)."""


def keep_large_blocks() -> bool:
    """Make glibc keep freed blocks of any size for later allocations; returns whether it does.

    By default it maps each block of over 32 MB anew and unmaps it when it is freed, so that the kernel clears
    every page of every large tensor in every step. In return the process keeps its peak memory, which pages of
    2 MB make a fifth smaller.
    """
    os.environ.setdefault(HUGE_PAGES, "1")
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(libc.mallopt(_TRIM_THRESHOLD, _LARGEST))

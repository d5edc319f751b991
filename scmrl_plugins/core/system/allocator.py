"""How the memory of large tensors is taken, before torch takes the first."""

from __future__ import annotations

import ctypes
import os
import platform

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""The variable by which torch, when it is imported, asks Linux for pages of 2 MB for tensors of that size."""


def keep_large_blocks() -> bool:
    """Have glibc keep freed blocks of any size for the next allocation; whether it will.

    By itself it maps each block of over 32 MB anew and gives it back when it is freed, so that every step pays the
    kernel again for every page of every large tensor. The process then holds on to the most it ever had, which is
    a fifth less in pages of 2 MB.
    """
    os.environ.setdefault(HUGE_PAGES, "1")
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(libc.mallopt(_TRIM_THRESHOLD, _LARGEST))

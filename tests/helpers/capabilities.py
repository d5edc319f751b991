"""Linux capabilities of this thread: without some of them, root obeys the modes of files like any user."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_VERSION = 0x20080522
_CALLS = {"x86_64": (125, 126), "aarch64": (90, 91)}
"""Numbers of the system calls ``capget`` and ``capset``."""


@contextlib.contextmanager
def unprivileged() -> Iterator[bool]:
    """Obey the modes of files in the block; whether that is possible here."""
    if os.name != "posix" or os.geteuid() != 0:
        yield os.name == "posix"
        return
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in _CALLS:
        yield False
        return
    libc = ctypes.CDLL(None, use_errno=True)
    get, put = _CALLS[machine]
    header, before = (ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()
    if libc.syscall(get, header, before):
        yield False
        return
    without = (ctypes.c_uint32 * 6)(*before)
    without[0] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH) & 0xFFFFFFFF  # of the effective ones
    done = libc.syscall(put, header, without) == 0
    try:
        yield done
    finally:
        libc.syscall(put, header, before)

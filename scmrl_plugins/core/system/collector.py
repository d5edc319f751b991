"""Python's garbage collector, paused while modules are imported."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Collect no garbage within; exempt what imports created from later collections.

    Importing torch creates hundreds of thousands of objects, all of which stay. To search them for garbage again
    and again takes a fifth of the time.
    """
    was_enabled, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:
            gc.freeze()
        if was_enabled:
            gc.enable()

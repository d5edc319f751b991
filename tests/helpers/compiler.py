"""Whether there is the compiler that torch.compile takes on the CPU."""

from __future__ import annotations

import shutil

import pytest

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")

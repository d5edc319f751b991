"""What every plugin promises about its registration."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from scmrl_plugins.registry import KINDS, catalogue, fresh
from scmrl_plugins.registry.catalogue import INLINE, Plugin
from scmrl_plugins.testing.checks import NotApplicableError, check, fail, require
from scmrl_plugins.testing.subject import Subject


@check(*KINDS)
def check_registers_without_problems(subject: Subject) -> None:
    """``scmrl plugins`` lists the plugin without a problem."""
    plugin = subject.entry.plugin
    for broken in catalogue().broken:
        if (broken.name, broken.distribution) == (plugin.name, plugin.distribution):
            fail(broken.error)


@check(*KINDS)
def check_registration_imports_no_torch(subject: Subject) -> None:
    """Registration, which every command waits for, does not import torch; checked in a new process."""
    if subject.entry.plugin.distribution == INLINE:
        raise NotApplicableError("registered by hand, not by an installed plugin")
    require(
        not _imports_torch(subject.entry.plugin),
        "registering imports torch: register the target as a string and import torch in the target's module",
    )


@functools.cache
def _imports_torch(plugin: Plugin) -> bool:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", fresh.__name__, plugin.name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    expected = done.returncode in (0, fresh.IMPORTS_TORCH)
    require(expected, f"registering in a new process fails: {done.stderr[-300:]}")
    return done.returncode == fresh.IMPORTS_TORCH

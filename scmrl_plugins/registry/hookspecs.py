"""The hook that a plugin implements, and the version of the interface."""

from __future__ import annotations

from typing import Protocol

import pluggy

GROUP = "scmrl"

INTERFACE_VERSION = 1
"""The version of the hook and of ``core.interfaces``, increased by a change that breaks plugins."""

OLDEST_INTERFACE = 1
"""The oldest version that still works; plugins for a version below the newest are listed as deprecated."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Register(Protocol):
    """``register(kind, name, target, summary)``, the argument of every plugin's hook."""

    def __call__(self, kind: str, name: str, target: str, summary: str) -> None: ...


@hookspec
def scmrl_register(register: Register) -> None:
    """Register a plugin's components.

    Call ``register(kind, name, target, summary)`` once for each component. ``kind`` is one of ``KINDS``;
    ``target`` is ``"module:attribute"``, imported when the component is first used. The module of the hook itself
    is imported by every command, so it must not import torch.
    """

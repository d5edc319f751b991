"""Encoders of change and of sound, and the base of all encoders."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.coding"


@hookimpl
def scmrl_register(register: Register) -> None:
    register("encoder", "delta", f"{_HERE}.delta:Delta", "a spike for every change of the threshold's size")
    register("encoder", "cochlea", f"{_HERE}.cochlea:Cochlea", "spikes of the frequency bands of a spectrogram")

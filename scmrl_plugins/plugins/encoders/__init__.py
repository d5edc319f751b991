"""Encoders: from images and spectrograms to sequences over T time steps."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.encoders"


@hookimpl
def scmrl_register(register: Register) -> None:
    register("encoder", "direct", f"{_HERE}.codes:Direct", "the input itself at every step")
    register("encoder", "rate", f"{_HERE}.codes:Rate", "spikes with probability = intensity")
    register("encoder", "phase", f"{_HERE}.codes:Phase", "binary digits of the intensity, weighted 2^-t")
    register("encoder", "ttfs", f"{_HERE}.codes:TimeToFirstSpike", "one spike, earlier for a larger input")
    register("encoder", "delta", f"{_HERE}.delta:Delta", "a spike for every change of the threshold's size")
    register("encoder", "cochlea", f"{_HERE}.cochlea:Cochlea", "spikes of the frequency bands of a spectrogram")

"""Encoders: from images and spectrograms to sequences over T time steps."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.encoders"


@hookimpl
def scmrl_register(register: Register) -> None:
    register("encoder", "direct", f"{_HERE}.direct:Direct", "analogue input, repeated at every time step")
    register("encoder", "rate", f"{_HERE}.rate:Rate", "Bernoulli spikes with the intensity as probability")
    register("encoder", "phase", f"{_HERE}.phase:Phase", "binary digits of the intensity, weighted by 2^-t")
    register(
        "encoder",
        "ttfs",
        f"{_HERE}.ttfs:TimeToFirstSpike",
        "time to first spike: one spike, earlier for larger intensities",
    )
    register("encoder", "delta", f"{_HERE}.delta:Delta", "a spike for every change by the threshold")
    register("encoder", "cochlea", f"{_HERE}.cochlea:Cochlea", "spikes per frequency band of a spectrogram")

"""Spiking neurons that compute all time steps in one pass, and the surrogates of their gradients."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.neurons"


@hookimpl
def scmrl_register(register: Register) -> None:
    register("neuron", "lif", f"{_HERE}.lif:LIF", "leaky integrate and fire, all time steps in one pass")
    register("neuron", "if", f"{_HERE}.integrate_and_fire:IF", "integrate and fire, all time steps in one pass")
    register("neuron", "plif", f"{_HERE}.plif:PLIF", "lif with a learned time constant")
    register("neuron", "alif", f"{_HERE}.alif:ALIF", "lif with a threshold that rises with each spike and decays")
    register("neuron", "ternary", f"{_HERE}.ternary:Ternary", "lif with positive and negative spikes")
    register(
        "neuron", "relu", f"{_HERE}.relu:ReLU", "rectified linear unit without memory, for an artificial twin"
    )
    register(
        "neuron",
        "quantized",
        f"{_HERE}.quantized:Quantized",
        "relu with few bits, for a quantised twin in one step",
    )

"""BrainCog's own nodes as neurons, through one adapter."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.braincog"

# Every node of BrainCog's that is a layer on tensors, in its own order. Not here, because they cannot be one:
# BaseMCNode and ThreeCompNode (two inputs), BackEINode (a convolution over a fixed number of image channels),
# CTIzhNode (one scalar cell and its wiring), HHNode and aEIF (a brain area with its own weights), adth (no
# step), DoubleSidePLIFNode (its step raises TypeError).
NODES = {
    "ReLUNode": "no spikes: max(x, 0), for comparison with an ANN",
    "BiasReLUNode": "no spikes: max(x + 0.1, 0)",
    "IFNode": "integrate and fire",
    "LIFNode": "leaky integrate and fire, stepped in Python",
    "BurstLIFNode": "leaky integrate and fire, bursts of up to five",
    "NoiseLIFNode": "leaky integrate and fire, beta noise on the membrane",
    "BiasLIFNode": "leaky integrate and fire with a constant current",
    "LIFSTDPNode": "leaky integrate and fire as BrainCog's STDP uses it",
    "PLIFNode": "leaky integrate and fire, learned time constant",
    "NoisePLIFNode": "learned time constant, beta noise on the membrane",
    "BiasPLIFNode": "learned time constant, constant current",
    "IzhNode": "Izhikevich",
    "IzhNodeMU": "Izhikevich, all constants free",
    "DGLIFNode": "directly trained, analogue value above the threshold",
    "HTDGLIFNode": "DGLIF on integrate and fire",
    "SimHHNode": "Hodgkin-Huxley, simplified",
    "LIAFNode": "leaky integrate and analogue fire",
    "OnlineLIFNode": "leaky integrate and fire, trained online",
}


@hookimpl
def scmrl_register(register: Register) -> None:
    for name, summary in NODES.items():
        register("neuron", name, f"{_HERE}.nodes:{name}", f"BrainCog: {summary}")

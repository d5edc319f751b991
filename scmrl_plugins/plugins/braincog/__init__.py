"""BrainCog's own nodes as neurons, through one adapter."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.braincog"

# All BrainCog nodes that are layers on tensors, in BrainCog's order. These nodes cannot be layers:
# BaseMCNode and ThreeCompNode (two inputs), BackEINode (a convolution over a fixed number of image channels),
# CTIzhNode (one scalar cell and its wiring), HHNode and aEIF (a brain area with its own weights), adth (no
# step), DoubleSidePLIFNode (its step raises TypeError).
NODES = {
    "ReLUNode": "rectified linear unit without spikes, for comparison with an ANN",
    "BiasReLUNode": "rectified linear unit max(x + 0.1, 0) without spikes",
    "IFNode": "integrate and fire",
    "LIFNode": "leaky integrate and fire, stepped in Python",
    "BurstLIFNode": "leaky integrate and fire with bursts of up to five spikes",
    "NoiseLIFNode": "leaky integrate and fire with beta-distributed membrane noise",
    "BiasLIFNode": "leaky integrate and fire with a constant input current",
    "LIFSTDPNode": "leaky integrate and fire for BrainCog's STDP",
    "PLIFNode": "leaky integrate and fire with a learned time constant",
    "NoisePLIFNode": "PLIFNode with beta-distributed membrane noise",
    "BiasPLIFNode": "PLIFNode with a constant input current",
    "IzhNode": "Izhikevich neuron",
    "IzhNodeMU": "Izhikevich neuron with all constants configurable",
    "DGLIFNode": "directly trained leaky integrate and fire with analogue output above the threshold",
    "HTDGLIFNode": "DGLIFNode without leak",
    "SimHHNode": "simplified Hodgkin-Huxley neuron",
    "LIAFNode": "leaky integrate and analogue fire",
    "OnlineLIFNode": "leaky integrate and fire with online training",
}


@hookimpl
def scmrl_register(register: Register) -> None:
    for name, summary in NODES.items():
        register("neuron", name, f"{_HERE}.nodes:{name}", f"BrainCog: {summary}")

"""Fusion blocks and read-outs."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.fusion"


@hookimpl
def scmrl_register(register: Register) -> None:
    register("fusion", "cmrl", f"{_HERE}.cmrl:CMRL", "cross-modal residual by spiking cross-attention (S-CMRL)")
    register("fusion", "late", f"{_HERE}.late:Late", "no interaction before the read-out")
    register("fusion", "audio", f"{_HERE}.unimodal:Audio", "audio alone, with spiking self-attention")
    register("fusion", "visual", f"{_HERE}.unimodal:Visual", "vision alone, with spiking self-attention")
    register("readout", "add", f"{_HERE}.readout:Add", "linear head on the sum of the modalities' features")
    register("readout", "concat", f"{_HERE}.readout:Concat", "linear head on both modalities' features")

"""Fusion blocks."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.fusions"


@hookimpl
def scmrl_register(register: Register) -> None:
    register("fusion", "cmrl", f"{_HERE}.cmrl:CMRL", "cross-modal residual by spiking cross-attention (S-CMRL)")
    register("fusion", "late", f"{_HERE}.late:Late", "no interaction before the read-out")
    register(
        "fusion", "weight-attention", f"{_HERE}.weight_attention:WeightAttention", "one weight a step (baseline)"
    )
    register("fusion", "sca", f"{_HERE}.sca:SCA", "spiking cross-attention in the stream's place (baseline)")
    register("fusion", "cmci", f"{_HERE}.cmci:CMCI", "a joint stream, and a head for each of three (baseline)")
    register("fusion", "cmqka", f"{_HERE}.cmqka:CMQKA", "query-key masks across modalities, linear in tokens")
    register("fusion", "taaf", f"{_HERE}.taaf:TAAF", "attention over time steps, balanced learning")
    register("fusion", "audio", f"{_HERE}.unimodal:Audio", "audio alone, with spiking self-attention")
    register("fusion", "visual", f"{_HERE}.unimodal:Visual", "vision alone, with spiking self-attention")

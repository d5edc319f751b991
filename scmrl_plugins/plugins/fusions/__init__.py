"""Fusion blocks."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.fusions"


@hookimpl
def scmrl_register(register: Register) -> None:
    register("fusion", "cmrl", f"{_HERE}.cmrl:CMRL", "cross-modal residual by spiking cross-attention (S-CMRL)")
    register("fusion", "cmrl_live", f"{_HERE}.cmrl:CMRLLive", "cmrl with settings under which its residuals fire")
    register("fusion", "late", f"{_HERE}.late:Late", "no interaction before the read-out")
    register(
        "fusion",
        "weight-attention",
        f"{_HERE}.weight_attention:WeightAttention",
        "one weight per time step (baseline)",
    )
    register("fusion", "sca", f"{_HERE}.sca:SCA", "spiking cross-attention that replaces the stream (baseline)")
    register("fusion", "cmci", f"{_HERE}.cmci:CMCI", "a joint stream with three classification heads (baseline)")
    register(
        "fusion", "cmqka", f"{_HERE}.cmqka:CMQKA", "cross-modal query-key masks, linear in the number of tokens"
    )
    register(
        "fusion", "summary", f"{_HERE}.summary:Summary", "the partner's summary to every token, through a gate"
    )
    register("fusion", "bilinear", f"{_HERE}.bilinear:Bilinear", "products of both summaries, to every token")
    register("fusion", "perceptron", f"{_HERE}.perceptron:Perceptron", "a spiking perceptron of both summaries")
    register("fusion", "taaf", f"{_HERE}.taaf:TAAF", "attention over time steps with balanced learning")
    register("fusion", "audio", f"{_HERE}.unimodal:Audio", "audio only, with spiking self-attention")
    register("fusion", "visual", f"{_HERE}.unimodal:Visual", "vision only, with spiking self-attention")

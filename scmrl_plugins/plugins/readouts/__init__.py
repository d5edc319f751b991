"""Read-outs: map fused streams to logits."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.readouts"


@hookimpl
def scmrl_register(register: Register) -> None:
    register("readout", "add", f"{_HERE}.linear:Add", "linear head on the sum of the modalities' features")
    register(
        "readout", "concat", f"{_HERE}.linear:Concat", "linear head on the concatenated features of the modalities"
    )
    register(
        "readout",
        "experts",
        f"{_HERE}.experts:Experts",
        "product of a prediction per modality and of their fusion",
    )

"""A gated audio-visual fusion, as a plugin of scmrl-plugins."""

from __future__ import annotations

from scmrl_plugins import hookimpl

# The interface version that this plugin was written for. A later scmrl-plugins reports what has changed.
scmrl_interface = 1


@hookimpl
def scmrl_register(register) -> None:
    # The target is a string, so that listing plugins does not import torch.
    register("fusion", "gated", "scmrl_gated.fusion:GatedFusion", "a gate per channel weights the modalities")

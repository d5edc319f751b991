"""A gated fusion of hearing and vision, as a plugin of scmrl-plugins."""

from __future__ import annotations

from scmrl_plugins import hookimpl

# The interface that this was written for: a later scmrl-plugins then says what has changed.
scmrl_interface = 1


@hookimpl
def scmrl_register(register) -> None:
    # The target is a string: whoever lists the plugins does not wait for torch.
    register("fusion", "gated", "scmrl_gated.fusion:GatedFusion", "a gate per channel shares out the modalities")

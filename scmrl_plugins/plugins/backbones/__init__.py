"""Backbones: spiking Transformers."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register


@hookimpl
def scmrl_register(register: Register) -> None:
    register(
        "backbone",
        "spikformer",
        "scmrl_plugins.plugins.backbones.spikformer:Spikformer",
        "spiking patch splitting, then blocks of spiking self-attention and MLP",
    )
    register(
        "backbone",
        "qkformer",
        "scmrl_plugins.plugins.backbones.qkformer:QKFormer",
        "three scales with query-key attention, linear in the number of tokens",
    )

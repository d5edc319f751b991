"""Losses: cross-entropy, and the semantic alignment of the modalities' residuals."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.alignment"


@hookimpl
def scmrl_register(register: Register) -> None:
    register("loss", "ce", f"{_HERE}.cross_entropy:CrossEntropy", "cross-entropy, label smoothing in training")
    register("loss", "sao", f"{_HERE}.sao:SemanticAlignment", "semantic alignment of the residuals (S-CMRL)")

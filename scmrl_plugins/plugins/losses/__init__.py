"""Losses: cross-entropies, the alignment of the modalities' residuals, their balance, and firing rates."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.losses"


@hookimpl
def scmrl_register(register: Register) -> None:
    register("loss", "ce", f"{_HERE}.cross_entropy:CrossEntropy", "cross-entropy, label smoothing in training")
    register("loss", "sao", f"{_HERE}.sao:SemanticAlignment", "semantic alignment of the residuals (S-CMRL)")
    register("loss", "tet", f"{_HERE}.tet:TemporalEfficientTraining", "cross-entropy of every time step")
    register("loss", "infonce", f"{_HERE}.infonce:InfoNCE", "each sample's residuals find their partner")
    register("loss", "supcon", f"{_HERE}.supcon:SupervisedContrast", "residuals of a class find each other")
    register("loss", "balance", f"{_HERE}.balance:Balance", "the modality that dominates learns less (TAAF)")
    register("loss", "rate", f"{_HERE}.firing_rate:FiringRate", "firing rates of the layers within two bounds")

"""Losses: classification, alignment and balance of the modalities, and firing rates."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.losses"


@hookimpl
def scmrl_register(register: Register) -> None:
    register(
        "loss", "ce", f"{_HERE}.cross_entropy:CrossEntropy", "cross-entropy with label smoothing during training"
    )
    register("loss", "sao", f"{_HERE}.sao:SemanticAlignment", "semantic alignment of the residuals (S-CMRL)")
    register("loss", "tet", f"{_HERE}.tet:TemporalEfficientTraining", "cross-entropy at every time step")
    register(
        "loss",
        "infonce",
        f"{_HERE}.infonce:InfoNCE",
        "contrast between the residuals of a sample and those of others",
    )
    register(
        "loss",
        "supcon",
        f"{_HERE}.supcon:SupervisedContrast",
        "contrast between the residuals of a class and those of others",
    )
    register("loss", "balance", f"{_HERE}.balance:Balance", "slower learning for the dominant modality (TAAF)")
    register("loss", "rate", f"{_HERE}.firing_rate:FiringRate", "penalty for firing rates outside two bounds")

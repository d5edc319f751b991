"""Modulations: balanced learning of the two modalities."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

_HERE = "scmrl_plugins.plugins.modulations"


@hookimpl
def scmrl_register(register: Register) -> None:
    register("modulation", "none", f"{_HERE}.none:Unmodulated", "training as it is")
    register(
        "modulation", "ogm-ge", f"{_HERE}.ogm_ge:OnTheFlyGradients", "smaller gradients for the better modality"
    )
    register(
        "modulation", "agm", f"{_HERE}.agm:AdaptiveGradients", "each modality's contribution to the logits, scaled"
    )
    register("modulation", "pmr", f"{_HERE}.pmr:Prototypes", "prototypes for the modality that lags behind")
    register("modulation", "mmpareto", f"{_HERE}.mmpareto:Pareto", "unimodal losses, combined without conflict")
    register("modulation", "dgl", f"{_HERE}.dgl:Disentangled", "encoders that learn from unimodal losses alone")
    register(
        "modulation",
        "g2d",
        f"{_HERE}.g2d:GuidedDistillation",
        "distillation from teachers, modality by modality",
    )
    register("modulation", "opm", f"{_HERE}.opm:PredictionModulation", "dropout of the better modality's stream")
